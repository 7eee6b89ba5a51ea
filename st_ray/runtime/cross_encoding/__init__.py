"""A cross-encoder over tokenized pairs, whatever they are scored for: what jobs that rerank, evaluate or mine share."""
