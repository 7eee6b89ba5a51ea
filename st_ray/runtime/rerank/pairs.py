"""Pairs of a query and a document as a folder of hits holds them, numbered through, and their cut into shards.

A shard holds whole queries: those that begin at pairs `[slot * shard_pairs, (slot + 1) * shard_pairs)`. So any task can
tell from the sizes of the parts alone which shards are its own, and the parts of the hits do not show in the cut.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.runtime.texts_by_id.ids import distinct_ids, joined_ids
from st_ray.store.hit_sets import HitSet
from st_ray.store.hits import hits_bytes, hits_table, read_hits
from st_ray.store.join import Keyed, id_keys, joined, keyed
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Part, Writer, part_name


@dataclass(frozen=True)
class PartRows:
    """Rows `[first, last)` of one part of the folder."""

    folder: str
    entry: ShardEntry
    first: int
    last: int


@dataclass(frozen=True)
class PairFolder:
    """A finished folder of hits.

    Attributes:
        name: what to call it in an error.
    """

    folder: str
    entries: tuple[ShardEntry, ...]
    name: str

    @property
    def pairs(self) -> int:
        """In all parts."""
        return sum(entry.rows for entry in self.entries)

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([entry.rows for entry in self.entries], dtype=np.int64)

    def rows(self, first: int, last: int) -> tuple[PartRows, ...]:
        """Where pairs `[first, last)` lie."""
        return tuple(part for start, part in self._parts(first, last))

    def whole_parts(self, first: int, last: int) -> tuple[int, tuple[PartRows, ...]]:
        """The parts that hold any of the pairs `[first, last)`, whole, and the number of their first pair."""
        found = self._parts(first, last)
        whole = (dataclasses.replace(part, first=0, last=part.entry.rows) for _, part in found)
        return found[0][0], tuple(whole)

    def _parts(self, first: int, last: int) -> list[tuple[int, PartRows]]:
        ends = self._ends
        low, high = np.searchsorted(ends, first, side="right"), np.searchsorted(ends, last, side="left")
        found = []
        for entry, end in zip(self.entries[low : high + 1], ends[low : high + 1].tolist(), strict=True):
            start = end - entry.rows
            rows = PartRows(self.folder, entry, max(first - start, 0), min(last - start, entry.rows))
            if rows.first < rows.last:
                found.append((start, rows))
        return found


@dataclass(frozen=True)
class Pairs:
    """The pairs of q queries.

    Attributes:
        query_ids: `[q]` string or int64.
        counts: int64 `[q]`, pairs of each; at least 1.
        corpus_ids: `[n]` string or int64, query by query.
        scores: float32 `[n]`, of the retrieval; nan where there was none.
    """

    query_ids: pa.Array
    counts: np.ndarray
    corpus_ids: pa.Array
    scores: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """int64 `[q]`, the first pair of each query."""
        return np.cumsum(self.counts) - self.counts


class Cut(NamedTuple):
    """What a shard holds: pairs `[first_pair, first_pair + pairs)`, of so many queries."""

    slot: int
    first_pair: int
    pairs: int
    queries: int


def read_pairs(rows: Sequence[PartRows]) -> Pairs:
    """Read them, a part at a time. Raises InputError where a part is missing or damaged."""
    tables = (
        read_hits(part.folder, part.entry, unscored=True).slice(part.first, part.last - part.first) for part in rows
    )
    return joined_pairs([pairs_of(table) for table in tables])


def pairs_of(table: pa.Table) -> Pairs:
    """The pairs of a table of hits; rows that stand together and have the same query are its pairs."""
    query_ids = table["query_id"].combine_chunks()
    codes = query_ids.dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return Pairs(
        query_ids.take(pa.array(starts)),
        np.diff(np.append(starts, len(table))),
        table["corpus_id"].combine_chunks(),
        table["score"].to_numpy(),
    )


def joined_pairs(pieces: Sequence[Pairs]) -> Pairs:
    """The pieces' pairs, one behind another."""
    pieces = [piece for piece in pieces if len(piece.counts)]
    return Pairs(
        joined_ids([piece.query_ids for piece in pieces]),
        np.concatenate([np.empty(0, np.int64), *(piece.counts for piece in pieces)]),
        joined_ids([piece.corpus_ids for piece in pieces]),
        np.concatenate([np.empty(0, np.float32), *(piece.scores for piece in pieces)]),
    )


def wanted_ids(pairs: PairFolder, slots: range, shard_pairs: int) -> tuple[list[Cut], Keyed, Keyed]:
    """The shards of these slots, and what they want: their queries, and each document once a shard.

    Places are (slot, position among the shard's queries or distinct documents). A slot without a query that begins
    there has no shard.

    Raises:
        InputError: a part is damaged, or a query has a document twice.
    """
    last = min(slots.stop * shard_pairs, pairs.pairs)
    base, parts = pairs.whole_parts(slots.start * shard_pairs, last)
    block = read_pairs(parts)
    slot_of = (base + block.starts) // shard_pairs
    cuts: list[Cut] = []
    queries: list[Keyed] = []
    documents: list[Keyed] = []
    for slot in np.unique(slot_of[(slot_of >= slots.start) & (slot_of < slots.stop)]).tolist():
        low, high = np.searchsorted(slot_of, [slot, slot + 1]).tolist()
        counts, first = block.counts[low:high], int(block.starts[low])
        cut = Cut(slot, base + first, int(counts.sum()), high - low)
        query_ids = block.query_ids.slice(low, high - low)
        distinct, position = distinct_ids(block.corpus_ids.slice(first, cut.pairs))
        _check_once(pairs.name, query_ids, counts, distinct, position)
        cuts.append(cut)
        queries.append(keyed(id_keys(query_ids), slot))
        documents.append(keyed(id_keys(distinct), slot))
    return cuts, joined(queries), joined(documents)


def split_file(source: HitSet, writer: Writer, part_pairs: int) -> list[ShardEntry]:
    """Commit the hits of a single file, whole in memory here, as parts of about `part_pairs` pairs.

    Raises:
        InputError: the file is damaged, or a row is not a hit.
    """
    table = source.parts[0].read()
    pairs = pairs_of(table)
    slots, firsts = np.unique(pairs.starts // part_pairs, return_index=True)
    bounds = [*pairs.starts[firsts].tolist(), len(table)]
    entries = []
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        part = Part(hits_bytes(table.slice(first, last - first), "parquet"), last - first, first)
        entries.append(writer.commit(part_name(number, len(slots)), part))
    return entries


def unscored_part(query_ids: pa.Array, counts: np.ndarray, corpus_ids: pa.Array, first_row: int) -> Part:
    """A part of pairs that no retrieval has scored."""
    table = hits_table(query_ids, counts, corpus_ids, np.full(len(corpus_ids), np.nan, np.float32))
    return Part(hits_bytes(table, "parquet"), len(table), first_row)


def _check_once(name: str, query_ids: pa.Array, counts: np.ndarray, distinct: pa.Array, position: np.ndarray) -> None:
    codes = np.repeat(np.arange(len(counts)), counts) * len(distinct) + position
    codes.sort()
    twice = np.flatnonzero(codes[1:] == codes[:-1])
    if len(twice):
        query, document = divmod(int(codes[twice[0]]), len(distinct))
        raise InputError(
            f"{name}: query {query_ids[query].as_py()!r} has the document {distinct[document].as_py()!r} twice",
            "leave one of the two hits out",
        )
