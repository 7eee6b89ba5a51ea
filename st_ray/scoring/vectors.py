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
from st_ray.store.embeddings import embedding_array, open_embeddings, read_part, take_rows
from st_ray.store.join import digest_keys
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

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
        """The rows at `first` up to before `last` as they are stored, a row group at a time.

        Yields:
            the position of the first row, and the rows `[n, columns]`; bits always as uint8.

        Raises:
            InputError: a part is missing or damaged; it is named.
        """
        for position, table in self._tables(["embedding"], first, last):
            rows = embedding_array(table["embedding"])
            yield position, as_bits(rows) if self.is_binary else rows

    def ids(self, first: int, last: int) -> pa.Array:
        """The ids of the rows at `first` up to before `last`, strings or int64; raises what `blocks` raises."""
        tables = [table for _, table in self._tables(["id"], first, last)]
        return pa.concat_tables(tables)["id"].combine_chunks() if tables else pa.array([], pa.int64())

    def text_keys(self, first: int, last: int) -> np.ndarray:
        """Digests of the texts of the rows at `first` up to before `last`, uint64 `[n, 2]` (see `join.digest_keys`).

        Raises what `blocks` raises.
        """
        tables = [table for _, table in self._tables(["text_digest"], first, last)]
        digests = [digest_keys(table["text_digest"].combine_chunks()) for table in tables]
        return np.concatenate([np.empty((0, 2), np.uint64), *digests])

    def part_of(self, position: int) -> int:
        """The part that holds the row at `position`."""
        return int(np.searchsorted(self.offsets, position, side="right")) - 1

    def floats(self, stored: np.ndarray) -> np.ndarray:
        """What `stored` rows stand for, float32 `[n, dimension]`; bits become 0 and 1."""
        return dequantize_embeddings(stored, self.precision, self.ranges)[:, : self.dimension]

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The stored rows at `positions`, in their order, `[m, columns]`; bits always as uint8.

        Memory beside them: a row group. Raises what `columns_at` raises.
        """
        found: np.ndarray | None = None
        for places, rows in self.taken(positions):
            if found is None:
                found = np.empty((len(positions), rows.shape[1]), rows.dtype)
            found[places] = rows
        return np.empty((0, self.dimension), np.float32) if found is None else found

    def taken(self, positions: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows of `take`, a row group at a time, each with their places among `positions`."""
        for places, table in self._taken(["embedding"], positions):
            rows = embedding_array(table["embedding"])
            yield places, as_bits(rows) if self.is_binary else rows

    def columns_at(self, names: Sequence[str], positions: np.ndarray) -> pa.Table:
        """Columns of the rows at `positions`, in their order; memory beside them: a row group.

        Args:
            names: of id, row, text_digest, and text, where texts were kept.

        Raises:
            IndexError: there is no such position.
            InputError: a part is missing or damaged, or has no such column; it is named.
        """
        taken = list(self._taken(names, positions))
        if not taken:
            return pa.table({name: pa.array([], pa.string()) for name in names})
        back = np.empty(len(positions), np.int64)
        back[np.concatenate([places for places, _ in taken])] = np.arange(len(positions))
        return pa.concat_tables([table for _, table in taken]).take(pa.array(back)).combine_chunks()

    def _taken(self, names: Sequence[str], positions: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """The rows at `positions`, a row group at a time, and their places among them."""
        positions = np.asarray(positions, np.int64)
        if len(positions) and not 0 <= positions.min() <= positions.max() < self.rows:
            raise IndexError(f"positions from {positions.min()} to {positions.max()} of a store of {self.rows} rows")
        order = np.argsort(positions, kind="stable")
        cuts = np.searchsorted(positions[order], self.offsets)
        for part in np.flatnonzero(np.diff(cuts)).tolist():
            here = order[cuts[part] : cuts[part + 1]]
            rows = positions[here] - self.offsets[part]
            for some, table in take_rows(self.folder, self.entries[part], names, rows):
                yield here[some], table

    def _tables(self, columns: Sequence[str], first: int, last: int) -> Iterator[tuple[int, pa.Table]]:
        for part, entry in enumerate(self.entries):
            begin, end = self.offsets[part : part + 2].tolist()
            if begin < last and first < end:
                position = max(first, begin)
                for table in read_part(self.folder, entry, columns, range(position - begin, min(last, end) - begin)):
                    yield position, table
                    position += len(table)
