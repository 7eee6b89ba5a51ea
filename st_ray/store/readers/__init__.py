"""Readers of texts in files: resolve the inputs, scan each file once, cut the rows into shards, read any shard."""

from st_ray.store.readers.plan import Segment, ShardPlan, cut_shards
from st_ray.store.readers.read import REJECTS_SCHEMA, TextBlock, read_shard
from st_ray.store.readers.scan import BadRow, FileScan, scan_file
from st_ray.store.readers.sources import resolve_inputs
from st_ray.store.readers.spec import ReadSpec, SourceFile, ValueColumn

__all__ = [
    "REJECTS_SCHEMA",
    "BadRow",
    "FileScan",
    "ReadSpec",
    "Segment",
    "ShardPlan",
    "SourceFile",
    "TextBlock",
    "ValueColumn",
    "cut_shards",
    "read_shard",
    "resolve_inputs",
    "scan_file",
]
