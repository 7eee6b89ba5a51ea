"""Bounded-memory storage: atomic files, manifests, readers of text formats."""
