"""Training jobs: examples, workers, what they leave."""
