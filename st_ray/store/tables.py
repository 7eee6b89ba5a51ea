"""Parts that are small Parquet files, read whole."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.manifest import ShardEntry
from st_ray.store.readers.files import reading


def read_table(folder: str, entry: ShardEntry, remedy: str) -> pa.Table:
    """One part. Raises InputError, with the remedy, where it is missing, cut short or damaged; it is named."""
    url = fs.join(folder, "data", entry.name)
    filesystem, path = fs.open_fs(url)
    with reading(url), filesystem.open(path, "rb") as file:
        table = pq.read_table(file)
    if len(table) != entry.rows:
        raise InputError(f"{url} has {len(table)} rows, its manifest says {entry.rows}", remedy)
    return table
