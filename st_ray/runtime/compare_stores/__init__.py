"""The comparison of two versions of an embedding store."""
