"""Scores between vectors, and keeping the best of them, block by block under a memory bound."""
