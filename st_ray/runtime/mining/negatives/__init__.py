"""Hard negatives of a whole dataset: a chain of finished folders, from pairs of texts to tables for trainers."""
