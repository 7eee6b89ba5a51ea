"""Mining jobs: pairs and groups of alike texts."""
