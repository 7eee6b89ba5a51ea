"""Rows of an older store whose texts come again: found by the digests of the texts, wherever they have moved to."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from st_ray.store import fs
from st_ray.store.embeddings import embedding_array, read_part, take_rows
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

    def copy_embeddings(self, matches: np.ndarray, target: np.ndarray) -> None:
        """Put the stored embeddings of the old rows into the rows of `target`, `[n, columns]`, that they come again as.

        Memory beside it: a row group. Row groups without any of them are not read.

        Args:
            matches: as `read_matches` gives them.

        Raises:
            InputError: a part is missing or damaged; it is named.
        """
        for part in np.unique(matches[:, 1]).tolist():
            here = matches[matches[:, 1] == part]
            here = here[np.argsort(here[:, 2], kind="stable")]
            for places, table in take_rows(self.folder, self.entries[part], ["embedding"], here[:, 2].astype(np.int64)):
                target[here[places, 0]] = embedding_array(table["embedding"])


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
