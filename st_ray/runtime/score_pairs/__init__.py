"""The job that scores pairs of texts with a cross-encoder and keeps the scores beside the texts."""
