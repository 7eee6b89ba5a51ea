"""The greedy pass as one task that asks the actors, and notes now and then what it has found, to go on from there."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.mining.communities import Greedy, nearest_order
from st_ray.mining.neighbourhoods import Neighbourhoods
from st_ray.runtime.mining.communities.holders import Holders
from st_ray.store import fs
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import OutputFolder, Part, Writer
from st_ray.store.readers.files import reading

_DECIDED = "decided"


@dataclass(frozen=True)
class Group:
    """The pass, run by a task.

    Memory: 26 bytes a row of the store (8 of counts that are shared, 8 of an order, 1 for what is taken, and as many
    again while the next ones are looked for), the neighbours of a round, and the members found since the last note.

    Attributes:
        least: rows of a community.
        notes: where what has been found is noted ...
        note_seconds: ... so often.
    """

    holders: Holders
    least: int
    notes: OutputFolder
    writer: Writer
    note_seconds: float
    meter: Any

    def __call__(self, sizes: np.ndarray) -> int:
        """Do what the notes lack; returns how many candidates the actors were asked about.

        Args:
            sizes: int64 `[n]`, neighbours of each row.
        """
        search = Greedy(sizes, self.least)
        for entry in noted(self.notes, self.writer):
            _, rows, _ = read_note(self.writer.part_url(entry.name))
            search.go_on(int(entry.figures[_DECIDED]), rows)
        questions = _Questions(self.holders, search)
        found: list[_Found] = []
        begun, noted_at = search.decided, time.monotonic()
        while search.decided < search.candidates:
            before = search.decided
            found += questions.scored(search.round(questions.neighbours))
            self.meter.add(rows=search.decided - before)
            if time.monotonic() - noted_at >= self.note_seconds or search.decided == search.candidates:
                self.writer.commit(_name(begun), _note(found, search.decided))
                found, begun, noted_at = [], search.decided, time.monotonic()
        self.meter.flush()
        return questions.asked


@dataclass(frozen=True)
class _Found:
    """A community: its rows, the centre first, and their cosines to it."""

    rows: np.ndarray
    scores: np.ndarray


class _Questions:
    """What the actors are asked in a round."""

    def __init__(self, holders: Holders, search: Greedy) -> None:
        self._holders, self._search = holders, search
        self._centres, self._vectors = np.empty(0, np.int64), np.empty((0, 0), np.float32)
        self.asked = 0

    def neighbours(self, centres: np.ndarray) -> Neighbourhoods:
        """Of rows, int64 `[m]`; taken ones are left out."""
        self._centres, self._vectors = centres, self._holders.vectors(centres)
        self.asked += len(centres)
        return self._holders.neighbours(self._vectors, self._search.taken)

    def scored(self, found: Sequence[tuple[int, np.ndarray]]) -> list[_Found]:
        """Communities of the last question's centres, the nearest first."""
        if not found:
            return []
        members = [rows for _, rows in found]
        owners = np.repeat(np.arange(len(found)), [len(rows) for rows in members])
        places = [int(np.flatnonzero(self._centres == centre)[0]) for centre, _ in found]
        scores = self._holders.cosines(self._vectors[places], owners, np.concatenate(members))
        communities = []
        for (centre, rows), own in zip(found, np.split(scores, np.flatnonzero(np.diff(owners)) + 1), strict=True):
            order = nearest_order(centre, rows, own)
            communities.append(_Found(rows[order], own[order]))
        return communities


def noted(notes: OutputFolder, writer: Writer) -> list[ShardEntry]:
    """The notes so far: each begins with the candidate at which the one before ended."""
    committed, found, at = notes.committed(writer), [], 0
    while (entry := committed.get(_name(at))) is not None:
        found.append(entry)
        at = int(entry.figures[_DECIDED])
    return found


def decided(entries: Sequence[ShardEntry]) -> int:
    """Candidates that have had their turn, by the notes."""
    return int(entries[-1].figures[_DECIDED]) if entries else 0


def read_note(url: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Communities in the order in which they were founded: int64 sizes `[c]`, int64 rows and float32 scores `[m]`.

    Raises:
        InputError: the note is missing or damaged; it is named.
    """
    filesystem, path = fs.open_fs(url)
    with reading(url), filesystem.open(path, "rb") as file:
        table = pq.read_table(io.BytesIO(file.read()))
    columns = {name: table[name].to_numpy() for name in ("first", "row", "score")}
    starts = np.flatnonzero(columns["first"])
    return np.diff(np.append(starts, len(table))), columns["row"], columns["score"]


def _note(found: Sequence[_Found], decided: int) -> Part:
    sizes = np.array([len(one.rows) for one in found], np.int64)
    first = np.zeros(int(sizes.sum()), bool)
    first[np.cumsum(sizes) - sizes] = True
    rows = np.concatenate([np.empty(0, np.int64), *(one.rows for one in found)])
    scores = np.concatenate([np.empty(0, np.float32), *(one.scores for one in found)])
    data = parquet_bytes(pa.table({"first": first, "row": rows, "score": scores}))
    return Part(data, len(rows), 0, figures={_DECIDED: decided})


def _name(begun: int) -> str:
    """Of the note that begins with the candidate number `begun`; whoever writes it, it tells the same story."""
    return f"from-{begun:012d}.parquet"
