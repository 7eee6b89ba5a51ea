"""Where the texts of all ids lie: wanted ids and those of the texts meet in buckets of their hashes, in Ray tasks.

What is found for a range of slots is cut into tasks that copy the texts, each with its matches in a file. No task holds
more than a bucket or a range, and the driver nothing but counts and the names of the tasks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from st_ray.runtime.corpus import Corpus
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.shuffle import grouped_by_rows, spread
from st_ray.runtime.texts_by_id.texts import Role, TextSide, TextTask, cut_matches, row_bytes, write_matches
from st_ray.store import fs
from st_ray.store.join import Keyed, buckets, joined, lookup
from st_ray.store.manifest import ShardEntry
from st_ray.store.readers.plan import ShardPlan

BUCKET_ROWS = 4_000_000
"""Rows of a bucket, ids of a range, and rows of texts that one task reads, about: 28 bytes each."""
TEXT_ROWS = 500_000
"""Texts that one task copies, at most ..."""
TEXT_BYTES = 256 << 20
"""... and their size, about."""

Sides = Mapping[Role, tuple[TextSide, Corpus]]


@dataclass(frozen=True)
class Wanted:
    """Ids that want texts, by slots that are numbered through.

    Attributes:
        ask: called in a task with a range of slots; picklable. What each slot that wants any is about (a named tuple of
            JSON values with a `slot`), in order, and the ids of each role; their places are (slot, number).
        slots: how many.
        slot_rows: ids of a role that a slot wants, about.
        rows: ids of each role that all slots want, about; fewer than there are texts need no mention.
    """

    ask: Callable[[range], tuple[Sequence[Any], Mapping[Role, Keyed]]]
    slots: int
    slot_rows: int
    rows: Mapping[Role, int]


@dataclass(frozen=True)
class Places:
    """What the join found.

    Attributes:
        cuts: what each slot is about, in order.
        ranges: for each range of slots, the slot behind its last one.
        tasks: what is left to do: copying the texts.
    """

    cuts: tuple[Any, ...]
    ranges: tuple[int, ...]
    tasks: tuple[TextTask, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"cuts": self.cuts, "ranges": self.ranges, "tasks": self.tasks}

    @classmethod
    def from_json(cls, plan: Mapping[str, Any], cut: Callable[..., Any]) -> Places:
        """The inverse of `to_json`; `cut` makes what a slot is about."""
        cuts, tasks = (cut(*values) for values in plan["cuts"]), (TextTask(*task) for task in plan["tasks"])
        return cls(tuple(cuts), tuple(plan["ranges"]), tuple(tasks))

    def range_of(self, slot: int) -> int:
        """The number of the range that it lies in."""
        return bisect_right(self.ranges, slot)

    def files(self, folder: str, entries: Sequence[ShardEntry]) -> dict[tuple[Role, int], tuple[str, ...]]:
        """For each role and range the parts of texts, once these are copied.

        Args:
            folder: of the stage of texts.
            entries: its parts.
        """
        files: dict[tuple[Role, int], tuple[str, ...]] = {}
        for task, entry in zip(self.tasks, entries, strict=True):
            key = task.role, task.range
            files[key] = (*files.get(key, ()), fs.join(folder, "data", entry.name))
        return files


@dataclass(frozen=True)
class Fault:
    """Ids that do not do: how many, and the first place (slot, number) that has one."""

    count: int = 0
    first: tuple[int, int] = (0, 0)

    def __add__(self, other: Fault) -> Fault:
        if not (self.count and other.count):
            return self if self.count else other
        return Fault(self.count + other.count, min(self.first, other.first))


class Faults(NamedTuple):
    """What is wrong with the ids of one side.

    Attributes:
        missing: ids without a text.
        blank: ids of a text without a word; see `TextSide.in_words`.
        repeated: ids that are wanted in several places; see `TextSide.asked_once`.
    """

    missing: Fault
    blank: Fault
    repeated: Fault


class Found(NamedTuple):
    """What a bucket holds.

    Attributes:
        matches: int32 `[m, 4]`: slot, number, shard of texts, row of it.
    """

    matches: np.ndarray
    faults: Faults


def find_places(
    wanted: Wanted, sides: Sides, folder: str, check: Callable[[TextSide, Faults, Sequence[Any]], None]
) -> Places:
    """Join the ids that are wanted with those of the texts.

    Args:
        folder: for the matches.
        check: told of the faults of each side, and of what the slots are about; raises where they do not do.

    Raises:
        InputError: a file is damaged, or as `wanted.ask` and `check` raise.
    """
    step = max(1, BUCKET_ROWS // wanted.slot_rows)
    ranges = [range(first, min(first + step, wanted.slots)) for first in range(0, wanted.slots, step)]
    counts = {role: _bucket_count(max(corpus.rows, wanted.rows.get(role, 0))) for role, (_, corpus) in sides.items()}
    asked = spread(_ask, [(wanted.ask, slots, counts) for slots in ranges], 1 + sum(counts.values()))
    stops = [slots.stop for slots in ranges]
    joins: dict[Role, list[list[Any]]] = {}
    first_bucket = 1
    for role, (side, corpus) in sides.items():
        groups = grouped_by_rows(corpus.shards, [plan.rows for plan in corpus.shards], BUCKET_ROWS)
        known = spread(_known, [(side, group, counts[role]) for group in groups], counts[role])
        calls = [
            (side, stops, *(pieces[first_bucket + bucket] for pieces in asked), *(pieces[bucket] for pieces in known))
            for bucket in range(counts[role])
        ]
        joins[role] = spread(_join, calls, 1 + len(ranges))
        first_bucket += counts[role]
    cuts = [cut for pieces in asked for cut in result_of(pieces[0])]
    for role, (side, _) in sides.items():
        check(side, _sum([result_of(pieces[0]) for pieces in joins[role]]), cuts)
    keeps = []
    for role, (_, corpus) in sides.items():
        limits = (np.array([plan.rows for plan in corpus.shards]), _most_texts(corpus), BUCKET_ROWS)
        keeps += [
            (role, number, folder, limits, *(pieces[1 + number] for pieces in joins[role]))
            for number in range(len(ranges))
        ]
    tasks = [task for (kept,) in spread(_keep, keeps, 1) for task in result_of(kept)]
    return Places(tuple(cuts), tuple(stops), tuple(tasks))


def find(wanted: Keyed, known: Keyed, side: TextSide) -> Found:
    """Join one bucket."""
    hit, rows = lookup(wanted.keys, known.keys)
    places = known.places[rows]
    matches = np.concatenate([wanted.places[hit], places[:, :2]], axis=1)
    blank, repeated = np.zeros((2, len(wanted)), bool)
    blank[hit] = places[:, 2] != 0
    if side.asked_once:
        _, firsts = lookup(wanted.keys, wanted.keys)
        repeated = firsts != np.arange(len(wanted))
    return Found(matches, Faults(*(_fault(wanted, chosen) for chosen in (~hit, blank, repeated))))


def _fault(wanted: Keyed, chosen: np.ndarray) -> Fault:
    if not chosen.any():
        return Fault()
    places = wanted.places[chosen]
    slot, number = places[np.lexsort((places[:, 1], places[:, 0]))[0]].tolist()
    return Fault(len(np.unique(wanted.keys[chosen], axis=0)), (slot, number))


def _sum(found: Sequence[Faults]) -> Faults:
    return Faults(*(sum(faults, Fault()) for faults in zip(*found, strict=True)))


def _bucket_count(rows: int) -> int:
    return max(1, -(-rows // BUCKET_ROWS))


def _most_texts(corpus: Corpus) -> int:
    return max(1, min(TEXT_ROWS, TEXT_BYTES // row_bytes(corpus)))


def _ask(ask: Callable[[range], Any], slots: range, counts: Mapping[Role, int]) -> list[Any]:
    cuts, ids = ask(slots)
    return [cuts, *(bucket for role, count in counts.items() for bucket in buckets(ids[role], count))]


def _known(side: TextSide, shards: Sequence[ShardPlan], count: int) -> list[Keyed]:
    return buckets(side.known(shards), count)


def _join(side: TextSide, stops: Sequence[int], *pieces: Keyed) -> list[Any]:
    ranges = len(stops)
    found = find(joined(pieces[:ranges]), joined(pieces[ranges:], columns=3), side)
    number = np.searchsorted(stops, found.matches[:, 0], side="right")
    return [found.faults, *(found.matches[number == here] for here in range(ranges))]


def _keep(role: Role, number: int, folder: str, limits: tuple[Any, ...], *pieces: np.ndarray) -> list[list[TextTask]]:
    tasks = []
    for piece, matches in enumerate(cut_matches(np.concatenate(pieces), *limits)):
        name = f"{role}-{number:05d}-{piece:05d}.npy"
        write_matches(fs.join(folder, name), matches)
        tasks.append(TextTask(role, number, len(matches), name))
    return [tasks]
