"""The parts of a refreshed index: of an older one's codes, or of its graphs, and of the rows that are new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.index.build import fill
from st_ray.index.carry import put_codes, take_codes
from st_ray.index.files import index_from_bytes
from st_ray.index.output import OpenedIndex
from st_ray.runtime.build_index.fill import FillPart
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.manifest import ShardEntry, content_digest
from st_ray.store.reuse import read_matches


@dataclass(frozen=True, kw_only=True)
class CarryPart(FillPart):
    """Makes a part of codes that the old index has, under the numbers that their rows have now, and codes the others.

    It is the part that filling makes, to the byte. Memory: about three parts, as filling takes, however many old ones
    have a share in it.

    Attributes:
        old: its parts, filled into the same trained index.
        old_store: the embeddings that it was built from.
        matches: where it lies which rows of a part come again (see `store.reuse.read_matches`).
    """

    old: OpenedIndex
    old_store: StoredVectors
    matches: str

    def filled(self, name: str, first: int, last: int) -> Any:
        """See `FillPart`. Raises InputError too where a part of the old index is missing or damaged; it is named."""
        matches = read_matches(fs.join(self.matches, f"{name}.npy")).astype(np.int64)
        new, old = first + matches[:, 0], self.old_store.offsets[matches[:, 1]] + matches[:, 2]
        pieces = [take_codes(self._coded_anew(np.setdiff1d(np.arange(first, last), new)))]
        for entry in self.old.entries:
            here = (old >= entry.first_row) & (old < entry.first_row + entry.rows)
            if here.any():
                index = index_from_bytes(_whole_part(self.old, entry), self.old.part_url(entry))
                pieces.append(take_codes(index).renamed(old[here], new[here]))
                self.count(len(pieces[-1].ids))
        return put_codes(self.empty(), pieces)

    def _coded_anew(self, positions: np.ndarray) -> Any:
        def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for places, stored in self.store.taken(positions):
                yield positions[places], self.prepared(stored)

        return fill(self.spec, self.empty(), blocks())


@dataclass(frozen=True, kw_only=True)
class AppendPart(FillPart):
    """Adds the rows that have come to the part of the old index that begins at the same one.

    Attributes:
        old: its rows are the first ones of now, and its parts begin where parts do now.
    """

    old: OpenedIndex

    def filled(self, name: str, first: int, last: int) -> Any:
        """See `FillPart`. Raises InputError too where the part of the old index is missing or damaged; it is named."""
        entry = next((entry for entry in self.old.entries if entry.first_row == first), None)
        if entry is None:
            return super().filled(name, first, last)
        self.count(entry.rows)
        return fill(self.spec, _whole_part(self.old, entry), self.blocks(first + entry.rows, last))


def _whole_part(index: OpenedIndex, entry: ShardEntry) -> bytes:
    """The file of a part. What is wrong with it would be handed on from index to index: it is looked at closely."""
    url, remedy = index.part_url(entry), "build the index without --refresh"
    try:
        data = fs.read_bytes(url)
    except FileNotFoundError:
        raise InputError(f"{url} is missing", remedy) from None
    if content_digest(data) != entry.digest:
        raise InputError(f"{url} is not what its manifest says", remedy)
    return data
