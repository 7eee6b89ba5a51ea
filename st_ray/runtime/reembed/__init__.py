"""The reembed job: a corpus that changes becomes one version of its embeddings and their index after the other."""
