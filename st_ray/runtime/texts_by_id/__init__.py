"""Texts of ids: where they lie in the files, and copies of them for the shards of work that want them."""
