"""Finding pairs and groups of rows that belong together."""
