"""Distinct texts as they are stored: a range of their rows, the rows of ids; and pairs of ids found among others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.manifest import ShardEntry, read_manifest
from st_ray.store.readers.files import reading
from st_ray.store.readers.tables import open_parquet, parquet_batches


@dataclass(frozen=True)
class StoredTexts:
    """The distinct texts of one side, by rising ids.

    Attributes:
        entries: the parts; the ids of each lie from its `first_row` up to before that of the next.
    """

    folder: str
    entries: tuple[ShardEntry, ...]

    @classmethod
    def open(cls, folder: str) -> StoredTexts:
        """Read the manifest. Raises InputError if `folder` holds nothing finished."""
        return cls(folder, read_manifest(folder).entries)

    @property
    def rows(self) -> int:
        """In all parts."""
        return sum(entry.rows for entry in self.entries)

    @property
    def data(self) -> str:
        """The folder of the parts."""
        return fs.join(self.folder, "data")

    def columns(self, names: Sequence[str], first: int, last: int) -> pa.Table:
        """The named columns of the rows at `first` up to before `last`, of one row at least.

        Raises:
            InputError: a part is missing or damaged; it is named.
        """
        tables, begin = [], 0
        for entry in self.entries:
            low, high = max(first - begin, 0), min(last - begin, entry.rows)
            if low < high:
                tables.append(self._read(entry, names, low, high))
            begin += entry.rows
        return pa.concat_tables(tables).combine_chunks()

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """The rows that have these ids, int64 `[m]`. Memory beside them: the ids of a part.

        Raises:
            InputError: a part is missing or damaged, or there is no such id.
        """
        part_of = np.searchsorted([entry.first_row for entry in self.entries], ids, side="right") - 1
        offsets = np.cumsum([0, *(entry.rows for entry in self.entries)])
        positions = np.empty(len(ids), np.int64)
        for part in np.unique(part_of).tolist():
            here = np.flatnonzero(part_of == part)
            entry = self.entries[part]
            known = self._read(entry, ["id"], 0, entry.rows)["id"].to_numpy()
            rows = np.minimum(np.searchsorted(known, ids[here]), len(known) - 1)
            if part < 0 or (known[rows] != ids[here]).any():
                raise InputError(f"{self.folder} lacks some of the texts that were found", "name another --work")
            positions[here] = offsets[part] + rows
        return positions

    def _read(self, entry: ShardEntry, names: Sequence[str], first: int, last: int) -> pa.Table:
        url = fs.join(self.data, entry.name)
        with reading(url), open_parquet(url) as file:
            if file.metadata.num_rows != entry.rows:
                raise InputError(
                    f"{url} has {file.metadata.num_rows} rows, its manifest says {entry.rows}", "name another --work"
                )
            return pa.Table.from_batches(parquet_batches(file, names, first, last - first)).select(list(names))
