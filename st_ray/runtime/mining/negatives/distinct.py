"""Which texts are the same, and which positives an anchor has: rows meet in buckets of their texts' digests.

A text stands for all rows that have it; its place, the shard and row where it first appears, identifies it. Bucket b
holds the documents and the anchors whose digests fall into it. Positives pass through two buckets: that of their own
text, which tells what document they are, and that of their anchor. No task holds more than a bucket, or what is found
for the rows that it has read itself; the driver holds nothing but references and counts.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from st_ray.runtime.mining.negatives.reading import Shard
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.shuffle import grouped_by_rows, spread
from st_ray.store import fs
from st_ray.store.embeddings import text_digests
from st_ray.store.join import Keyed, bucket_rows, buckets, digest_keys, grouped, joined, lookup, run_positions

BUCKET_ROWS = 4_000_000
"""Rows of a bucket, and rows that one task reads, about."""
NOWHERE = -1
"""Shard and row of a text that is not there."""


class Counts(NamedTuple):
    """Of rows and texts; they add up over shards and buckets, but for the two maxima."""

    empty_documents: int = 0
    empty_pairs: int = 0
    pairs: int = 0
    distinct_pairs: int = 0
    anchors: int = 0
    own_texts: int = 0
    most_positives: int = 0
    most_left_out: int = 0

    def plus(self, other: Counts) -> Counts:
        """Of both."""
        sums, most = self._asdict(), ("most_positives", "most_left_out")
        return Counts(
            **{
                name: max(value, getattr(other, name)) if name in most else value + getattr(other, name)
                for name, value in sums.items()
            }
        )


@dataclass(frozen=True)
class Anchors:
    """Distinct anchors with their positives; places are (shard, row).

    Attributes:
        places: int32 `[a, 2]`, rising.
        own: int32 `[a, 2]`, of the document that is the anchor's own text; `NOWHERE` where there is none.
        counts: int64 `[a]`, positives of each.
        positives: int32 `[p, 2]`, anchor by anchor, by first appearance.
    """

    places: np.ndarray
    own: np.ndarray
    counts: np.ndarray
    positives: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Anchors:
        starts = np.cumsum(self.counts) - self.counts
        chosen = run_positions(starts[rows], self.counts[rows])
        return Anchors(self.places[rows], self.own[rows], self.counts[rows], self.positives[chosen])


class Task(NamedTuple):
    """The distinct texts that first appear in one shard.

    Attributes:
        shard: its number.
        rows: how many there are.
        file: that holds what is known of them, and of those of the shards around.
    """

    shard: int
    rows: int
    file: str


class Found(NamedTuple):
    """What the join leaves: texts to be written, by the shards that they are in, and counts."""

    documents: tuple[Task, ...]
    anchors: tuple[Task, ...]
    counts: Counts


def find_distinct(shards: Sequence[Shard], folder: str) -> Found:
    """Join the texts of all shards.

    Args:
        shards: of the corpus, then of pairs.
        folder: for the files of the tasks.

    Raises:
        InputError: what `Shard.read` raises.
    """
    groups = grouped_by_rows(shards, [shard.plan.rows for shard in shards], BUCKET_ROWS)
    stops = [group[-1].number + 1 for group in groups]
    count = max(1, -(-sum(shard.plan.rows for shard in shards) // BUCKET_ROWS))
    rows_read, read = _split(spread(_read, [(group, count) for group in groups], 1 + count))
    matched = spread(_match, [(stops, count, *column) for column in zip(*read, strict=True)], 1 + count + len(groups))
    known, rest = _split(matched)
    links, kept = [pieces[:count] for pieces in rest], [pieces[count:] for pieces in rest]
    asked = zip(known, zip(*read, strict=True), zip(*links, strict=True), strict=True)
    calls = [(stops, documents, len(groups), *anchors, *linked) for documents, anchors, linked in asked]
    gathered, anchors = _split(spread(_gather, calls, 1 + len(groups)))
    counts = Counts()
    for ref in (*rows_read, *gathered):
        counts = counts.plus(result_of(ref))
    written = zip(zip(*kept, strict=True), zip(*anchors, strict=True), strict=True)
    keeps = [(number, folder, count, *places, *some) for number, (places, some) in enumerate(written)]
    tasks = [result_of(ref) for (ref,) in spread(_keep, keeps, 1)]
    of_documents, of_anchors = (tuple(itertools.chain(*side)) for side in zip(*tasks, strict=True))
    return Found(of_documents, of_anchors, counts)


def _split(pieces: Sequence[Sequence[Any]]) -> tuple[list[Any], list[Sequence[Any]]]:
    """The first of each, and the others."""
    return [first for first, *_ in pieces], [others for _, *others in pieces]


def read_places(url: str, shard: int) -> np.ndarray:
    """Places of the documents of a task, int32 `[d, 2]`, rising."""
    places = _load(url)["places"]
    return places[places[:, 0] == shard]


def read_anchors(url: str, shard: int) -> Anchors:
    """The anchors of a task."""
    anchors = Anchors(**_load(url))
    return anchors[np.flatnonzero(anchors.places[:, 0] == shard)]


class _Piece(NamedTuple):
    """What a task that reads has for one bucket.

    Attributes:
        documents: texts of a corpus and positives; places are (shard, row).
        linked: uint64 `[d, 2]`, of each document that is a positive the key of its anchor; `[0, 2]` for a corpus.
        anchors: the anchors.
    """

    documents: Keyed
    linked: np.ndarray
    anchors: Keyed


def _read(group: Sequence[Shard], count: int) -> list[Any]:
    pieces: list[list[_Piece]] = []
    counts = Counts()
    for shard in group:
        texts = shard.read()
        places = np.stack([np.full(len(texts.rows), shard.number, np.int32), texts.rows], axis=1)
        documents = Keyed(_keys(texts.documents), places)
        if texts.anchors is None:
            anchors = Keyed(documents.keys[:0], places[:0])
            counts = counts.plus(Counts(empty_documents=texts.empty))
        else:
            anchors = Keyed(_keys(texts.anchors), places)
            counts = counts.plus(Counts(empty_pairs=texts.empty, pairs=len(places)))
        chosen = bucket_rows(documents.keys, count)
        pieces.append(
            [
                _Piece(
                    Keyed(documents.keys[rows], places[rows]),
                    anchors.keys[rows] if len(anchors) else anchors.keys,
                    of_anchors,
                )
                for rows, of_anchors in zip(chosen, buckets(anchors, count), strict=True)
            ]
        )
    return [counts, *([of_shard[b] for of_shard in pieces] for b in range(count))]


def _keys(texts: Any) -> np.ndarray:
    return digest_keys(text_digests(texts.to_pylist()))


def _match(stops: Sequence[int], count: int, *read: Sequence[_Piece]) -> list[Any]:
    """Of a bucket: documents that are anchors' own texts; links of anchors to documents; places to be kept."""
    pieces = list(itertools.chain(*read))
    documents = joined([piece.documents for piece in pieces])
    order, starts, lengths = grouped(documents.keys)
    first = documents.places[order[starts]]
    place = np.empty_like(documents.places)
    place[order] = np.repeat(first, lengths, axis=0)
    distinct = Keyed(documents.keys[order[starts]], first)
    is_positive = np.repeat([len(piece.linked) > 0 for piece in pieces], [len(piece.documents) for piece in pieces])
    links = Keyed(
        np.concatenate([np.empty((0, 2), np.uint64), *(piece.linked for piece in pieces)]),
        np.concatenate([documents.places[is_positive], place[is_positive]], axis=1),
    )
    group_of = np.searchsorted(stops, first[:, 0], side="right")
    return [distinct, *buckets(links, count), *(first[group_of == number] for number in range(len(stops)))]


def _gather(stops: Sequence[int], documents: Keyed, readers: int, *pieces: Any) -> list[Any]:
    """Of a bucket: its anchors, each with its positives, by the group of shards that they are in."""
    known = joined([piece.anchors for piece in itertools.chain(*pieces[:readers])])
    order, starts, _ = grouped(known.keys)
    keys, places = known.keys[order[starts]], known.places[order[starts]]
    rank = np.lexsort((places[:, 1], places[:, 0]))
    keys, places = keys[rank], places[rank]
    own = np.full_like(places, NOWHERE)
    hit, rows = lookup(keys, documents.keys)
    own[hit] = documents.places[rows]
    links = joined(pieces[readers:], columns=4)
    _, anchor = lookup(links.keys, keys)
    table = np.concatenate([anchor[:, None], links.places], axis=1)  # anchor, shard and row, document's shard and row
    table = _first_of_each(table)
    counts = np.bincount(table[:, 0], minlength=len(keys))
    anchors = Anchors(places, own, counts, table[:, 3:].astype(np.int32))
    owned = _owned(table, own)
    found = Counts(
        distinct_pairs=len(table),
        anchors=len(keys),
        own_texts=int(hit.sum()),
        most_positives=int(counts.max(initial=0)),
        most_left_out=int((counts + (hit & ~owned)).max(initial=0)),
    )
    group_of = np.searchsorted(stops, places[:, 0], side="right")
    return [found, *(anchors[np.flatnonzero(group_of == number)] for number in range(len(stops)))]


def _first_of_each(table: np.ndarray) -> np.ndarray:
    """The first pair of each anchor and document; by anchor, then by the place of the pair."""
    by_pair = np.lexsort((table[:, 2], table[:, 1], table[:, 4], table[:, 3], table[:, 0]))
    same = np.zeros(len(table), bool)
    same[1:] = (np.diff(table[by_pair][:, [0, 3, 4]], axis=0) == 0).all(axis=1)
    table = table[by_pair[~same]]
    return table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]


def _owned(table: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Whether an anchor's own text is among its positives, bool `[a]`."""
    found = np.zeros(len(own), bool)
    found[table[(table[:, 3:] == own[table[:, 0]]).all(axis=1), 0]] = True
    return found


def _keep(number: int, folder: str, count: int, *pieces: Any) -> list[Any]:
    """Write what is known of the texts of a group of shards; the tasks that copy them."""
    places = np.concatenate([np.empty((0, 2), np.int32), *pieces[:count]])
    places = places[np.lexsort((places[:, 1], places[:, 0]))]
    found: Sequence[Anchors] = pieces[count:]
    anchors = Anchors(*(np.concatenate([getattr(part, name) for part in found]) for name in Anchors.__annotations__))
    anchors = anchors[np.lexsort((anchors.places[:, 1], anchors.places[:, 0]))]
    tasks = []
    for name, columns in (("documents", {"places": places}), ("anchors", vars(anchors))):
        file = f"{name}-{number:05d}.npz"
        shards, rows = np.unique(columns["places"][:, 0], return_counts=True)
        sink = io.BytesIO()
        np.savez(sink, **columns)
        fs.write_atomic(fs.join(folder, file), sink.getvalue())
        tasks.append([Task(shard, here, file) for shard, here in zip(shards.tolist(), rows.tolist(), strict=True)])
    return [tasks]


def _load(url: str) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(fs.read_bytes(url)), allow_pickle=False) as arrays:
        return dict(arrays)
