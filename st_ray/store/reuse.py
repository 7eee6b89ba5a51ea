"""Rows of an older store whose texts come again: found by the digests of the texts, wherever they have moved to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.store import fs
from st_ray.store.embeddings import embedding_array, read_part
from st_ray.store.join import Keyed, digest_keys, joined, keyed, lookup
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import ShardEntry

_OF_THE_TEXTS = {
    "input", "id_column", "text_columns", "columns", "quotes", "on_bad_row", "values", "shard_rows", "keep_text"
}  # fmt: skip


def made_by(lineage: Lineage) -> Lineage:
    """What of an embedding store's lineage makes an embedding out of a text: the model, its settings, its compute."""
    return {name: value for name, value in lineage.items() if name not in _OF_THE_TEXTS}


@dataclass(frozen=True)
class Matches:
    """m rows that come again: where they are now, and where an old one with the same text is; both int32 `[m, 2]`."""

    new: np.ndarray
    old: np.ndarray


@dataclass(frozen=True)
class OldStore:
    """A finished embedding store, and where the matches with it are kept."""

    folder: str
    entries: tuple[ShardEntry, ...]
    matches: str

    def matches_of(self, name: str) -> np.ndarray:
        """Those of the shard whose part is `name`; see `read_matches`."""
        return read_matches(fs.join(self.matches, f"{name}.npy"))

    def embeddings(self, matches: np.ndarray) -> np.ndarray:
        """The stored embeddings of the old rows, `[m, columns]`."""
        return old_embeddings(self.folder, self.entries, matches)


def match(new: Keyed, old: Keyed) -> tuple[Matches, int]:
    """New rows with the first old one of the same text, and how many old rows have no new one."""
    found, rows = lookup(new.keys, old.keys)
    known, _ = lookup(old.keys, new.keys)
    return Matches(new.places[found], old.places[rows]), int(np.count_nonzero(~known))


def read_keys(folder: str, part: int, entry: ShardEntry) -> Keyed:
    """The rows of one part of an embedding store."""
    pieces: list[Keyed] = []
    for table in read_part(folder, entry, ["text_digest"]):
        digests = table["text_digest"].combine_chunks()
        pieces.append(keyed(digest_keys(digests), part, sum(map(len, pieces))))
    return joined(pieces)


def write_matches(url: str, matches: Matches) -> None:
    """Keep the matches of one shard, in the order of its rows."""
    order = np.argsort(matches.new[:, 1], kind="stable")
    sink = io.BytesIO()
    np.save(sink, np.concatenate([matches.new[order, 1:], matches.old[order]], axis=1))
    fs.write_atomic(url, sink.getvalue())


def read_matches(url: str) -> np.ndarray:
    """int32 `[m, 3]`: row of the shard, old part, row of the old part; none where nothing was kept."""
    try:
        return np.load(io.BytesIO(fs.read_bytes(url)), allow_pickle=False)
    except FileNotFoundError:
        return np.empty((0, 3), np.int32)


def old_embeddings(folder: str, entries: Sequence[ShardEntry], matches: np.ndarray) -> np.ndarray:
    """The stored embeddings of old rows, `[m, columns]`. Memory: those, and a row group of a part.

    Args:
        folder: the old store.
        entries: its parts, in order.
        matches: as `read_matches` gives them; at least one.

    Raises:
        InputError: a part is missing or damaged; it is named.
    """
    found: np.ndarray | None = None
    for part in np.unique(matches[:, 1]).tolist():
        wanted = np.flatnonzero(matches[:, 1] == part)
        rows, first = matches[wanted, 2], 0
        for table in read_part(folder, entries[part], ["embedding"]):
            here = (rows >= first) & (rows < first + len(table))
            if here.any():
                group = embedding_array(table["embedding"])
                if found is None:
                    found = np.empty((len(matches), group.shape[1]), group.dtype)
                found[wanted[here]] = group[rows[here] - first]
            first += len(table)
    return np.empty((0, 0), np.float32) if found is None else found
