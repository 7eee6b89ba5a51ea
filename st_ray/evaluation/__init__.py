"""Metrics, what they are measured against, and how they are shown.

Pure: no shards, no files but the judgements, no Ray.
"""
