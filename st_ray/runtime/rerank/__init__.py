"""The rerank job: the hits of queries, scored again by a cross-encoder."""
