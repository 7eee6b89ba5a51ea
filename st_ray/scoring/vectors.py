"""An embedding store as vectors: rows by position, in the precision they are stored in or as the floats they stand for.

The position of a row is its place in the store, counted over all parts in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from st_ray.scoring.quantization import as_bits, dequantize_embeddings
from st_ray.store.embeddings import embedding_array, open_embeddings, read_part
from st_ray.store.lineage import Lineage, lineage_digest
from st_ray.store.manifest import ShardEntry

BINARY = ("binary", "ubinary")


@dataclass(frozen=True)
class StoredVectors:
    """A finished embedding store.

    Attributes:
        entries: its parts, in order.
        dimension: of the embeddings before they were packed into bits.
        precision: that they are stored in.
        ranges: `[2, d]` of int8 and uint8.
        lineage: of the store.
        similarity: that the model names; None if unknown.
    """

    folder: str
    entries: tuple[ShardEntry, ...]
    dimension: int
    precision: str = "float32"
    ranges: Sequence[Sequence[float]] | None = None
    lineage: Lineage = field(default_factory=dict)
    similarity: str | None = None

    @classmethod
    def open(cls, folder: str) -> StoredVectors:
        """Read the manifest. Raises InputError if `folder` is no finished embedding store."""
        manifest = open_embeddings(folder)
        return cls(
            folder=folder,
            entries=manifest.entries,
            dimension=int(manifest.about["dimension"]),
            precision=manifest.lineage.get("precision", "float32"),
            ranges=manifest.about.get("ranges"),
            lineage=manifest.lineage,
            similarity=manifest.about.get("similarity"),
        )

    @cached_property
    def offsets(self) -> np.ndarray:
        """Positions at which the parts begin, and the number of rows: int64 `[parts + 1]`."""
        return np.cumsum([0, *(entry.rows for entry in self.entries)], dtype=np.int64)

    @property
    def rows(self) -> int:
        """In all parts."""
        return int(self.offsets[-1])

    @property
    def is_binary(self) -> bool:
        """Whether eight dimensions share a byte."""
        return self.precision in BINARY

    @property
    def digest(self) -> str:
        """Changes with any embedding, id or row: of the lineage and of all parts' contents."""
        return lineage_digest({"lineage": dict(self.lineage), "parts": [entry.digest for entry in self.entries]})

    def blocks(self, part: int) -> Iterator[np.ndarray]:
        """The rows of a part as they are stored, `[n, columns]`, row group by row group; bits always as uint8.

        Raises:
            InputError: the part is missing or damaged; it is named.
        """
        for table in read_part(self.folder, self.entries[part], ["embedding"]):
            rows = embedding_array(table["embedding"])
            yield as_bits(rows) if self.is_binary else rows

    def floats(self, stored: np.ndarray) -> np.ndarray:
        """What `stored` rows stand for, float32 `[n, dimension]`; bits become 0 and 1."""
        return dequantize_embeddings(stored, self.precision, self.ranges)[:, : self.dimension]

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The stored rows at `positions`, in their order, `[m, columns]`; memory beside them: a row group.

        Raises:
            IndexError: there is no such position.
            InputError: a part is missing or damaged; it is named.
        """
        positions = np.asarray(positions, np.int64)
        if len(positions) and not 0 <= positions.min() <= positions.max() < self.rows:
            raise IndexError(f"positions from {positions.min()} to {positions.max()} of a store of {self.rows} rows")
        parts = np.searchsorted(self.offsets, positions, side="right") - 1
        found: np.ndarray | None = None
        for part in np.unique(parts).tolist():
            wanted = np.flatnonzero(parts == part)
            first = int(self.offsets[part])
            for rows in self.blocks(part):
                here = wanted[(positions[wanted] >= first) & (positions[wanted] < first + len(rows))]
                if len(here):
                    if found is None:
                        found = np.empty((len(positions), rows.shape[1]), rows.dtype)
                    found[here] = rows[positions[here] - first]
                first += len(rows)
        return np.empty((0, self.dimension), np.float32) if found is None else found

    def ids(self, part: int) -> pa.Array:
        """The ids of a part's rows, strings or int64."""
        tables = list(read_part(self.folder, self.entries[part], ["id"]))
        return pa.concat_tables(tables)["id"].combine_chunks() if tables else pa.array([], pa.int64())
