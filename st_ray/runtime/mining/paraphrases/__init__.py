"""The paraphrase job: the best-scoring pairs of an embedding store, compared block by block or by an index."""
