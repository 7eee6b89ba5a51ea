"""Rows that were left out, as a file beside the part that lacks them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa

from st_ray.store.embeddings import parquet_bytes
from st_ray.store.output import REJECTS


def left_out(rejects: pa.Table | None, name: str) -> dict[str, Any]:
    """`dropped` and `beside` of the part `name`, by the table of rows that were left out (REJECTS_SCHEMA)."""
    if rejects is None or not len(rejects):
        return {}
    reasons = Counter(rejects["reason"].to_pylist())
    return {"dropped": dict(sorted(reasons.items())), "beside": {f"{REJECTS}/{name}": parquet_bytes(rejects)}}
