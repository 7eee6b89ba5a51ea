"""Sentence Transformers batch work at cluster scale, on Ray."""
