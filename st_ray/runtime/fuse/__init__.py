"""The fusion job: hits of several sets, brought together query by query."""
