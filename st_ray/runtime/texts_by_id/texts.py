"""The texts of queries or of documents: which rows have which ids, and the wanted ones laid out by slot.

A slot is a shard of work that wants texts; it knows each of them by a number of its own.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.runtime.corpus import Corpus
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.pipeline import Row, task_of
from st_ray.store import fs
from st_ray.store.join import Keyed, id_keys, joined
from st_ray.store.output import Part
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.staged_texts import staged_texts_bytes

Role = Literal["query", "document"]
PLURALS: Mapping[Role, str] = {"query": "queries", "document": "documents"}

_UNPACKED = 4
"""How much larger texts are in memory than in Parquet or compressed files, about."""


@dataclass(frozen=True)
class TextSide:
    """One side's texts, as tasks read them.

    Attributes:
        name: the files, in an error.
        bad_rows: how many rows are skipped; unless there are none, only reading the texts shows which.
        in_words: whether the join is to find wanted texts without a word.
        asked_once: whether the join is to find ids that are wanted in several places.
    """

    role: Role
    name: str
    spec: ReadSpec
    on_bad_row: Any
    bad_rows: int
    in_words: bool = False
    asked_once: bool = False

    def ids(self, plan: ShardPlan) -> tuple[pa.Array, np.ndarray]:
        """Ids `[n]` of the good rows of a shard of texts, and which rows of it they are, int64 `[n]`."""
        if not self.bad_rows and self.spec.id_column is None:
            rows = np.arange(plan.rows)
            return pa.array(rows + plan.first_row), rows
        spec = self.spec if self.bad_rows else dataclasses.replace(self.spec, text_columns=())
        block = read_shard(plan, spec, on_bad_row=self.on_bad_row)
        return block.ids, block.rows - plan.first_row

    def known(self, shards: Sequence[ShardPlan]) -> Keyed:
        """All good rows of these shards; places are (shard, row, whether it lacks the words it is to have)."""
        pieces = []
        for plan in shards:
            blank = np.zeros(0, bool)
            if self.in_words:
                block = read_shard(plan, self.spec, on_bad_row=self.on_bad_row)
                ids, rows = block.ids, block.rows - plan.first_row
                blank = np.array([not text.strip() for text in block.texts], bool)
            else:
                ids, rows = self.ids(plan)
            places = np.zeros((len(ids), 3), np.int32)
            places[:, 0], places[:, 1] = plan.number, rows
            places[: len(blank), 2] = blank
            pieces.append(Keyed(id_keys(ids), places))
        return joined(pieces, columns=3)

    def texts(self, plan: ShardPlan, rows: np.ndarray) -> pa.Array:
        """The texts, large_string `[n]`, of these rows of a shard.

        Raises:
            InputError: the file changed, or a row of it turns out to be a bad one.
        """
        block = read_shard(plan, self.spec, on_bad_row=self.on_bad_row)
        good = block.rows - plan.first_row
        at = np.searchsorted(good, rows)
        at[at == len(good)] = 0
        absent = np.flatnonzero(good[at] != rows) if len(good) else np.arange(len(rows))
        if len(absent):
            raise InputError(
                f"{self.name}: row {plan.first_row + int(rows[absent[0]]) + 1} is wanted but cannot be read",
                "repair that row",
            )
        return pa.array([block.texts[position] for position in at.tolist()], pa.large_string())


def text_side(
    role: Role, corpus: Corpus, on_bad_row: str, *, in_words: bool = False, asked_once: bool = False
) -> TextSide:
    """What tasks need to know of a scanned side: see `TextSide`."""
    more = f" and {len(corpus.files) - 1} more files" if len(corpus.files) > 1 else ""
    name = corpus.files[0].url + more
    return TextSide(role, name, corpus.spec, on_bad_row, corpus.bad_rows, in_words, asked_once)


def row_bytes(corpus: Corpus) -> int:
    """Bytes of a row in memory, about, by the size of the files."""
    sizes = (file.size * (_UNPACKED if file.compression or file.format == "parquet" else 1) for file in corpus.files)
    return max(1, sum(sizes) // max(1, corpus.rows))


def cut_matches(matches: np.ndarray, shard_rows: np.ndarray, most: int, most_read: int) -> list[np.ndarray]:
    """Cut matches into pieces for one task each: consecutive shards of texts, and of a large one a range of slots.

    Args:
        matches: int32 `[m, 4]`: slot, number there, shard of texts, row of it.
        shard_rows: rows of each shard of texts.
        most: matches of a piece; more only where one slot wants more of one shard.
        most_read: rows of the shards that a piece reads; more only for a single shard.
    """
    if not len(matches):
        return []
    matches = matches[np.lexsort((matches[:, 1], matches[:, 0], matches[:, 2]))]
    slot, shard = matches[:, 0], matches[:, 2]
    first_of_shard = np.diff(shard, prepend=-1) != 0
    large = np.bincount(shard, minlength=len(shard_rows))[shard] > most
    units = np.flatnonzero(first_of_shard | (large & (np.diff(slot, prepend=-1) != 0)))
    bounds, read, last = [0], 0, -1
    for start, end in zip(units.tolist(), [*units[1:].tolist(), len(matches)], strict=True):
        here = int(shard[start])
        cost = 0 if here == last else int(shard_rows[here])
        if start > bounds[-1] and (end - bounds[-1] > most or read + cost > most_read):
            bounds.append(start)
            read, cost = 0, int(shard_rows[here])
        read, last = read + cost, here
    return np.split(matches, bounds[1:])


class TextTask(NamedTuple):
    """Copy the texts of some matches: a task of the stage of texts.

    Attributes:
        range: number of the range of slots that they are for.
        rows: how many.
        matches: name of the file of the matches.
    """

    role: Role
    range: int
    rows: int
    matches: str

    def __str__(self) -> str:
        return f"texts of {PLURALS[self.role]} for shards of range {self.range}"


def write_matches(url: str, matches: np.ndarray) -> None:
    """Keep matches for a `TextTask`."""
    sink = io.BytesIO()
    np.save(sink, matches)
    fs.write_atomic(url, sink.getvalue())


def read_matches(url: str) -> np.ndarray:
    """The inverse of `write_matches`."""
    return np.load(io.BytesIO(fs.read_bytes(url)), allow_pickle=False)


@dataclass(frozen=True)
class CopyTexts:
    """Makes a part of texts: a row group for each slot that wants any, with their numbers there.

    Attributes:
        folder: of the files of matches.
    """

    folder: str
    sides: Mapping[Role, tuple[TextSide, Sequence[ShardPlan]]]
    meter: MeterClient | None = None

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published. Memory: its texts twice, and a shard of texts."""
        task: TextTask = task_of(row)
        side, plans = self.sides[task.role]
        matches = read_matches(fs.join(self.folder, task.matches))
        matches = matches[np.lexsort((matches[:, 1], matches[:, 0]))]
        # Many slots want the same row: it is read once.
        places = matches[:, 2].astype(np.int64) << 32 | matches[:, 3]
        distinct, position = np.unique(places, return_inverse=True)
        shards, rows = distinct >> 32, distinct & 0xFFFFFFFF
        texts = []
        for number in np.unique(shards).tolist():
            texts.append(side.texts(plans[number], rows[shards == number]))
            self._count(len(texts[-1]) * len(matches) / len(distinct))
        data = staged_texts_bytes(matches[:, 0], matches[:, 1], pa.concat_arrays(texts), position)
        if self.meter is not None:
            self.meter.flush()
        return Part(data=data, rows=len(matches), first_row=0)

    def _count(self, rows: float) -> None:
        if self.meter is not None:
            self.meter.add(rows=rows)
