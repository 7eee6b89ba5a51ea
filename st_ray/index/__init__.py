"""Approximate nearest neighbours with faiss: choose a recipe, train it, fill parts, merge, search and tune them."""
