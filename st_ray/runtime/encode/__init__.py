"""The encode job: a text corpus becomes a committed embedding store."""
