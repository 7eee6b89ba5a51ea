"""The export job: a model folder with a graph beside its weights, checked against torch."""
