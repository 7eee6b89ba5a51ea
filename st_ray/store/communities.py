"""Communities that a job found: their Parquet parts, the largest community first, in each the nearest to its centre.

community  int64, 0 is the largest
rank       int32, from 1, which is the centre
id         string or int64, as in the embedding store
row        int64, the row's position in that store
score      float32, cosine to the centre
text       string, where texts were asked for

A community may go on in the next part.
"""

from __future__ import annotations

import pyarrow as pa

from st_ray.store.manifest import Manifest, ShardEntry, read_manifest_of
from st_ray.store.tables import read_table

KIND = "communities"


def communities_table(members: pa.Table, found: pa.Table) -> pa.Table:
    """A part's rows.

    Args:
        members: the columns community, rank, row and score: `[n]`.
        found: of the same rows, the columns id and, if it is to be kept, text.
    """
    columns = {name: members[name] for name in ("community", "rank")}
    columns |= {"id": found["id"], "row": members["row"], "score": members["score"]}
    if "text" in found.column_names:
        columns["text"] = found["text"]
    return pa.table(columns)


def open_communities(folder: str) -> Manifest:
    """The manifest of a finished folder of communities. Raises InputError if `folder` holds anything else."""
    return read_manifest_of(folder, KIND, "name the output of detect_communities")


def read_communities(folder: str, entry: ShardEntry) -> pa.Table:
    """One part. Raises InputError where it is missing, cut short or damaged; it is named."""
    return read_table(folder, entry, "detect them again")
