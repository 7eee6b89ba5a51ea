"""Metrics and what they are measured against. Pure: no shards, no files but the judgements, no Ray."""
