"""Finding the nearest embeddings: exact today; indexes, words and fusion stand beside it."""
