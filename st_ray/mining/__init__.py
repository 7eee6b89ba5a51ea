"""Mining: pairs and groups of alike texts."""
