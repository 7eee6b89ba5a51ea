"""Pairs that a job found: their Parquet parts, best first.

id_1, id_2      string or int64, as in the embedding stores that they are from
score           float32
text_1, text_2  string, where texts were asked for
"""

from __future__ import annotations

import pyarrow as pa

from st_ray.store.manifest import Manifest, ShardEntry, read_manifest_of
from st_ray.store.tables import read_table

KIND = "pairs"


def pairs_table(first: pa.Table, second: pa.Table, scores: pa.Array) -> pa.Table:
    """A part's rows.

    Args:
        first: of the first of each pair, the columns id and, if it is to be kept, text: `[n]`.
        second: of the second.
        scores: `[n]` float32.
    """
    columns = {"id_1": first["id"], "id_2": second["id"], "score": scores}
    if "text" in first.column_names:
        columns |= {"text_1": first["text"], "text_2": second["text"]}
    return pa.table(columns)


def open_pairs(folder: str) -> Manifest:
    """The manifest of a finished folder of pairs. Raises InputError if `folder` holds anything else."""
    return read_manifest_of(folder, KIND, "name the output of a job that mines pairs")


def read_pairs(folder: str, entry: ShardEntry) -> pa.Table:
    """One part. Raises InputError where it is missing, cut short or damaged; it is named."""
    return read_table(folder, entry, "mine them again")
