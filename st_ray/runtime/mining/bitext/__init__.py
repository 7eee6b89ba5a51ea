"""The bitext job: translations in two collections of texts."""
