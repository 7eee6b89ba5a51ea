"""Which texts the examples want, and what becomes of those whose ids have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.shuffle import spread
from st_ray.runtime.texts_by_id.places import Fault, Faults, Places, Sides, Wanted, find_places
from st_ray.runtime.texts_by_id.texts import PLURALS, Role, TextSide, TextTask, read_matches
from st_ray.runtime.training.ids.members import Members, place_of, read_members
from st_ray.store import fs
from st_ray.store.join import Keyed, id_keys, joined, keyed
from st_ray.store.manifest import ShardEntry
from st_ray.store.readers.plan import ShardPlan

_ROLES: tuple[Role, ...] = ("query", "document")


class IdCut(NamedTuple):
    """What a shard of examples holds.

    Attributes:
        slot: its part's number.
        examples: those that have all of their texts.
        queries: texts of distinct queries.
        documents: texts of distinct documents.
        without_query: examples that are left out since their query has no text ...
        without_document: ... and others, since a document has none.
    """

    slot: int
    examples: int
    queries: int
    documents: int
    without_query: int = 0
    without_document: int = 0


@dataclass(frozen=True)
class IdExamples:
    """The examples of a folder, by their ids.

    Attributes:
        entries: of its parts, each of which is a slot.
        inputs: of an example.
    """

    folder: str
    entries: tuple[ShardEntry, ...]
    inputs: int

    def members(self, slot: int) -> Members:
        """The examples of one part."""
        return read_members(self.folder, self.entries[slot])

    def ask(self, slots: range) -> tuple[list[IdCut], dict[Role, Keyed]]:
        """See `Wanted.ask`: a part's ids are wanted by their numbers there. One without examples wants none."""
        cuts, queries, documents = [], [], []
        for slot in slots:
            if self.entries[slot].rows:
                members = self.members(slot)
                ids = members.query_ids, members.document_ids
                cuts.append(IdCut(slot, len(members.rows), *map(len, ids)))
                queries.append(keyed(id_keys(ids[0]), slot))
                documents.append(keyed(id_keys(ids[1]), slot))
        return cuts, dict(zip(_ROLES, (joined(queries), joined(documents)), strict=True))


def find_id_places(examples: IdExamples, sides: Sides, folder: str, plans: Sequence[ShardPlan] | None) -> Places:
    """Join the ids of the examples with those of the texts.

    Args:
        folder: for the matches.
        plans: the rows that each part was made of; None: examples that lack a text are left out.

    Raises:
        InputError: an id has no text, unless such examples are left out; or a file is damaged.
    """

    def check(side: TextSide, faults: Faults, cuts: Sequence[IdCut]) -> None:
        if faults.missing.count and plans is not None:
            raise _missing(examples, plans, side, faults.missing)

    rows = [entry.rows for entry in examples.entries]
    wanted = Wanted(
        ask=examples.ask,
        slots=len(rows),
        slot_rows=max(1, examples.inputs * max(rows)),
        rows={"query": sum(rows), "document": examples.inputs * sum(rows)},
    )
    places = find_places(wanted, sides, folder, check)
    texts = sum(cut.queries + cut.documents for cut in places.cuts)
    return places if sum(task.rows for task in places.tasks) == texts else _without_missing(examples, places, folder)


def has_texts(members: Members, queries: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each example whether its query has a text, and whether all of its documents have.

    Args:
        queries: int32, the numbers of the queries that have one; `documents` too.
    """
    known = [np.zeros(len(ids), bool) for ids in (members.query_ids, members.document_ids)]
    for has, numbers in zip(known, (queries, documents), strict=True):
        has[numbers] = True
    return known[0][members.members[:, 0]], known[1][members.members[:, 1:]].all(axis=1)


def _missing(examples: IdExamples, plans: Sequence[ShardPlan], side: TextSide, missing: Fault) -> InputError:
    """The error that names the first id without a text."""
    slot, number = missing.first
    members = examples.members(slot)
    is_query = side.role == "query"
    columns, ids = (slice(0, 1), members.query_ids) if is_query else (slice(1, None), members.document_ids)
    example = np.flatnonzero((members.members[:, columns] == number).any(axis=1))[0]
    return InputError(
        f"{place_of(plans[slot], int(members.rows[example]))}: {side.role} {ids[number].as_py()!r} has no text in "
        f"{side.name} ({missing.count:,} such {PLURALS[side.role]} in all)",
        f"name all their texts with {'--queries' if is_query else '--corpus'}, or leave such examples out with "
        "--on-bad-row skip",
    )


def _without_missing(examples: IdExamples, places: Places, folder: str) -> Places:
    """The same places, of the examples that have all of their texts: which those are, the matches say."""
    calls = []
    for number in range(len(places.ranges)):
        slots = [cut.slot for cut in places.cuts if places.range_of(cut.slot) == number]
        calls.append((examples, slots, [task for task in places.tasks if task.range == number], folder))
    cuts = [cut for (ref,) in spread(_count, calls, 1) for cut in result_of(ref)]
    return Places(tuple(cuts), places.ranges, places.tasks)


def _count(examples: IdExamples, slots: Sequence[int], tasks: Sequence[TextTask], folder: str) -> list[list[IdCut]]:
    found = [_numbers([task for task in tasks if task.role == role], slots, folder) for role in _ROLES]
    cuts = []
    for slot, *numbers in zip(slots, *found, strict=True):
        query, document = has_texts(examples.members(slot), *numbers)
        usable, *without = (int(np.count_nonzero(which)) for which in (query & document, ~query, query & ~document))
        cuts.append(IdCut(slot, usable, *map(len, numbers), *without))
    return [cuts]


def _numbers(tasks: Sequence[TextTask], slots: Sequence[int], folder: str) -> list[np.ndarray]:
    """For each slot the numbers that were found there."""
    pieces = [read_matches(fs.join(folder, task.matches)) for task in tasks]
    matches = np.concatenate([np.empty((0, 4), np.int32), *pieces])
    matches = matches[np.argsort(matches[:, 0], kind="stable")]
    ends = np.searchsorted(matches[:, 0], slots, side="right")
    return np.split(matches[:, 1], ends)[:-1]
