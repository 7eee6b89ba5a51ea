"""Where the texts of all ids lie: ids of hits and of texts meet in buckets of their hashes, in Ray tasks.

What is found for a range of shards is cut into tasks that copy the texts, each with its matches in a file. No task
holds more than a bucket or a range, and the driver nothing but counts and the names of the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.corpus import Corpus
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.rerank.pairs import Cut, PairFolder, distinct_ids, read_pairs, wanted_ids
from st_ray.runtime.rerank.texts import Role, TextSide, TextTask, cut_matches, row_bytes, write_matches
from st_ray.runtime.shuffle import grouped_by_rows, spread
from st_ray.store import fs
from st_ray.store.join import Keyed, buckets, joined, lookup
from st_ray.store.readers.plan import ShardPlan

BUCKET_ROWS = 4_000_000
"""Rows of a bucket, pairs of a range, and rows of texts that one task reads, about: 28 bytes each."""
TEXT_ROWS = 500_000
"""Texts that one task copies, at most ..."""
TEXT_BYTES = 256 << 20
"""... and their size, about."""


@dataclass(frozen=True)
class Places:
    """What the join found.

    Attributes:
        cuts: the shards, in the order of the pairs.
        ranges: for each range of shards, the slot behind its last one.
        tasks: what is left to do: copying the texts.
    """

    cuts: tuple[Cut, ...]
    ranges: tuple[int, ...]
    tasks: tuple[TextTask, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"cuts": self.cuts, "ranges": self.ranges, "tasks": self.tasks}

    @classmethod
    def from_json(cls, plan: Mapping[str, Any]) -> Places:
        """The inverse of `to_json`."""
        cuts, tasks = (Cut(*cut) for cut in plan["cuts"]), (TextTask(*task) for task in plan["tasks"])
        return cls(tuple(cuts), tuple(plan["ranges"]), tuple(tasks))


@dataclass(frozen=True)
class Fault:
    """Ids that do not do: how many, and the first place (slot, number) that has one."""

    count: int = 0
    first: tuple[int, int] = (0, 0)

    def __add__(self, other: Fault) -> Fault:
        if not (self.count and other.count):
            return self if self.count else other
        return Fault(self.count + other.count, min(self.first, other.first))


class Found(NamedTuple):
    """What a bucket holds.

    Attributes:
        matches: int32 `[m, 4]`: slot, number, shard of texts, row of it.
        missing: ids without a text.
        blank: queries without a word.
        repeated: queries that stand in several places.
    """

    matches: np.ndarray
    missing: Fault
    blank: Fault
    repeated: Fault


def find_places(pairs: PairFolder, shard_pairs: int, sides: dict[Role, tuple[TextSide, Corpus]], folder: str) -> Places:
    """Join the ids of the pairs with those of the texts.

    Args:
        folder: for the matches.

    Raises:
        InputError: an id without a text, a query without a word, a query with a document twice, or with its pairs in
            several places; or a file is damaged.
    """
    slots = -(-pairs.pairs // shard_pairs)
    step = max(1, BUCKET_ROWS // shard_pairs)
    ranges = [range(first, min(first + step, slots)) for first in range(0, slots, step)]
    counts: dict[Role, int] = {
        "query": _bucket_count(sides["query"][1].rows),
        "document": _bucket_count(max(sides["document"][1].rows, pairs.pairs)),
    }
    asks = [(pairs, slots_here, shard_pairs, counts["query"], counts["document"]) for slots_here in ranges]
    asked = spread(_ask, asks, 1 + sum(counts.values()))
    by_role = {"query": slice(1, 1 + counts["query"]), "document": slice(1 + counts["query"], None)}
    stops = [slots_here.stop for slots_here in ranges]
    joins: dict[Role, list[list[Any]]] = {}
    for role, (side, corpus) in sides.items():
        groups = grouped_by_rows(corpus.shards, [plan.rows for plan in corpus.shards], BUCKET_ROWS)
        known = spread(_known, [(side, group, counts[role]) for group in groups], counts[role])
        wanted = [pieces[by_role[role]] for pieces in asked]
        calls = [(role, stops, *(pieces[bucket] for pieces in (*wanted, *known))) for bucket in range(counts[role])]
        joins[role] = spread(_join, calls, 1 + len(ranges))
    cuts = [cut for pieces in asked for cut in result_of(pieces[0])]
    for role, (side, _) in sides.items():
        _raise_faults(pairs, {cut.slot: cut for cut in cuts}, side, [result_of(pieces[0]) for pieces in joins[role]])
    keeps = []
    for role, (_, corpus) in sides.items():
        limits = (np.array([plan.rows for plan in corpus.shards]), _most_texts(corpus), BUCKET_ROWS)
        keeps += [
            (role, number, folder, limits, *(pieces[1 + number] for pieces in joins[role]))
            for number in range(len(ranges))
        ]
    tasks = [task for (kept,) in spread(_keep, keeps, 1) for task in result_of(kept)]
    return Places(tuple(cuts), tuple(stops), tuple(tasks))


def find(wanted: Keyed, known: Keyed, role: Role) -> Found:
    """Join one bucket."""
    hit, rows = lookup(wanted.keys, known.keys)
    places = known.places[rows]
    matches = np.concatenate([wanted.places[hit], places[:, :2]], axis=1)
    nothing = np.zeros(len(wanted), bool)
    blank, repeated = nothing, nothing
    if role == "query":
        blank = nothing.copy()
        blank[hit] = places[:, 2] != 0
        _, firsts = lookup(wanted.keys, wanted.keys)
        repeated = firsts != np.arange(len(wanted))
    return Found(matches, *(_fault(wanted, chosen) for chosen in (~hit, blank, repeated)))


def _fault(wanted: Keyed, chosen: np.ndarray) -> Fault:
    if not chosen.any():
        return Fault()
    places = wanted.places[chosen]
    slot, number = places[np.lexsort((places[:, 1], places[:, 0]))[0]].tolist()
    return Fault(len(np.unique(wanted.keys[chosen], axis=0)), (slot, number))


def _bucket_count(rows: int) -> int:
    return max(1, -(-rows // BUCKET_ROWS))


def _most_texts(corpus: Corpus) -> int:
    return max(1, min(TEXT_ROWS, TEXT_BYTES // row_bytes(corpus)))


def _ask(pairs: PairFolder, slots: range, shard_pairs: int, of_queries: int, of_documents: int) -> list[Any]:
    cuts, queries, documents = wanted_ids(pairs, slots, shard_pairs)
    return [cuts, *buckets(queries, of_queries), *buckets(documents, of_documents)]


def _known(side: TextSide, shards: Sequence[ShardPlan], count: int) -> list[Keyed]:
    return buckets(side.known(shards), count)


def _join(role: Role, stops: Sequence[int], *pieces: Keyed) -> list[Any]:
    ranges = len(stops)
    found = find(joined(pieces[:ranges]), joined(pieces[ranges:], columns=3), role)
    number = np.searchsorted(stops, found.matches[:, 0], side="right")
    return [found._replace(matches=found.matches[:0]), *(found.matches[number == here] for here in range(ranges))]


def _keep(role: Role, number: int, folder: str, limits: tuple[Any, ...], *pieces: np.ndarray) -> list[list[TextTask]]:
    tasks = []
    for piece, matches in enumerate(cut_matches(np.concatenate(pieces), *limits)):
        name = f"{role}-{number:05d}-{piece:05d}.npy"
        write_matches(fs.join(folder, name), matches)
        tasks.append(TextTask(role, number, len(matches), name))
    return [tasks]


def _raise_faults(pairs: PairFolder, cuts: dict[int, Cut], side: TextSide, found: Sequence[Found]) -> None:
    """Raise InputError, naming the first, where an id does not do; its shard is read for that."""
    repeated, blank, missing = (
        sum((getattr(bucket, name) for bucket in found), Fault()) for name in ("repeated", "blank", "missing")
    )
    fault = next((fault for fault in (repeated, blank, missing) if fault.count), None)
    if fault is None:
        return
    cut, number = cuts[fault.first[0]], fault.first[1]
    block = read_pairs(pairs.rows(cut.first_pair, cut.first_pair + cut.pairs))
    if side.role == "document":
        distinct, position = distinct_ids(block.corpus_ids)
        row = int(np.flatnonzero(position == number)[0])
        query = block.query_ids[int(np.searchsorted(block.starts, row, side="right")) - 1].as_py()
        what = f"query {query!r} has the document {distinct[number].as_py()!r}, which has"
        others = f"({fault.count:,} such documents in all)"
    else:
        what = f"query {block.query_ids[number].as_py()!r} has"
        others = f"({fault.count:,} such queries in all)"
    if fault is repeated:
        raise InputError(
            f"{pairs.name}: {what} its documents in several places {others}", "put all hits of a query together"
        )
    if fault is blank:
        raise InputError(
            f"{pairs.name}: {what} an empty text in {side.name} {others}", "give it a text, or leave its hits out"
        )
    raise InputError(f"{pairs.name}: {what} no text in {side.name} {others}", _remedy(side))


def _remedy(side: TextSide) -> str:
    flags = ("--queries", "--id-column") if side.role == "query" else ("--corpus", "--corpus-id-column")
    remedy = f"name the texts that were searched with {flags[0]}, and the column of their ids with {flags[1]}"
    if side.spec.id_column is None:
        remedy += " (none is named, so that the rows are numbered)"
    if side.bad_rows:
        remedy += f"; {side.bad_rows:,} rows were left out by --on-bad-row skip"
    return remedy
