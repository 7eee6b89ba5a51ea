"""Candidates without a retrieval: every row of the corpus, or of a query's own document, as a folder of pairs.

Queries and corpus meet in buckets of their documents' hashes. First the pairs are only counted; then the buckets hand
them out to tasks that each write a part, so many at a time that few are on their way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.corpus import Corpus, ScanRequest, prepare_corpus
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.rerank.pairs import unscored_part
from st_ray.runtime.shuffle import grouped_by_rows, spread
from st_ray.runtime.texts_by_id.ids import joined_ids
from st_ray.runtime.texts_by_id.texts import TextSide, text_side
from st_ray.store.join import bucket_rows, grouped, id_keys, lookup, run_positions
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Writer, part_name
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard

BUCKET_ROWS = 4_000_000
"""Rows of a bucket, and pairs that are on their way at a time for each bucket, about."""
MAX_CANDIDATES = 1_000_000
"""Of a query: their ids are in one worker's memory, and so are their texts when they are scored."""
_SHOWN = 5


@dataclass(frozen=True)
class Members:
    """Rows of queries or of the corpus, and the document that each belongs to.

    Attributes:
        keys: uint64 `[n, 2]`, of the documents.
        rows: int64 `[n]`, global row numbers.
        ids: `[n]` string or int64.
        documents: `[n]` string or int64; None: all belong to the same.
    """

    keys: np.ndarray
    rows: np.ndarray
    ids: pa.Array
    documents: pa.Array | None

    def take(self, rows: np.ndarray) -> Members:
        """Some of them."""
        chosen = pa.array(rows)
        documents = None if self.documents is None else self.documents.take(chosen)
        return Members(self.keys[rows], self.rows[rows], self.ids.take(chosen), documents)


@dataclass(frozen=True)
class Listed:
    """Queries and their candidates.

    Attributes:
        rows: int64 `[q]`, global row numbers of the queries.
        query_ids: `[q]`.
        counts: int64 `[q]`, candidates of each.
        corpus_ids: `[n]`, query by query, in the order of the corpus.
    """

    rows: np.ndarray
    query_ids: pa.Array
    counts: np.ndarray
    corpus_ids: pa.Array


@dataclass(frozen=True)
class Tally:
    """What a bucket holds.

    Attributes:
        pairs: of its queries and their candidates.
        most: candidates of the query that has most, with its id and document.
        without: queries that have none.
        examples: of those, (row, id, document).
    """

    pairs: int
    most: tuple[int, Any, Any]
    without: int
    examples: list[tuple[int, Any, Any]]


@dataclass(frozen=True)
class Side:
    """One side as tasks read it: its ids, and its documents by a second look at the same rows."""

    texts: TextSide
    documents: TextSide | None

    def members(self, shards: Sequence[tuple[ShardPlan, ShardPlan | None]]) -> Members:
        """The good rows of some shards, given as they were scanned for ids and for documents."""
        return joined_members([self._shard(plan, documents) for plan, documents in shards])

    def _shard(self, plan: ShardPlan, documents: ShardPlan | None) -> Members:
        ids, rows = self.texts.ids(plan)
        if self.documents is None or documents is None:
            return Members(np.zeros((len(ids), 2), np.uint64), rows + plan.first_row, ids, None)
        block = read_shard(documents, self.documents.spec, on_bad_row=self.documents.on_bad_row)
        both, mine, theirs = np.intersect1d(rows, block.rows - plan.first_row, assume_unique=True, return_indices=True)
        named = block.ids.take(pa.array(theirs))
        return Members(id_keys(named), both + plan.first_row, ids.take(pa.array(mine)), named)


def list_candidates(
    queries: tuple[ScanRequest, Corpus],
    corpus: tuple[ScanRequest, Corpus],
    document_column: str | None,
    writer: Writer,
    part_pairs: int,
) -> list[ShardEntry]:
    """Commit all pairs as parts of about `part_pairs` of them, queries and candidates in the order of their files.

    Args:
        queries: how they were scanned, and what was found; `corpus` too.
        document_column: of both sides; None: the corpus is one document.

    Raises:
        ConfigError: a query would have more than `MAX_CANDIDATES`.
        InputError: so it has, by its document; a query's document has no rows; a file lacks the column.
    """
    candidates = corpus[1].rows - corpus[1].bad_rows
    if document_column is None and candidates > MAX_CANDIDATES:
        raise ConfigError(
            f"every query would have {candidates:,} candidates; {MAX_CANDIDATES:,} are the most",
            "search first and give --hits, or name the column of the documents with --document-column",
        )
    asked = _groups("query", *queries, document_column)
    there = _groups("document", *corpus, document_column)
    count = max(len(asked), len(there)) if document_column else 1
    pieces = [spread(_split, ((*group, count) for group in groups), count) for groups in (asked, there)]
    of_bucket = [tuple(part[bucket] for side in pieces for part in side) for bucket in range(count)]
    tallies = [result_of(ref) for (ref,) in spread(_count, ((len(asked), *refs) for refs in of_bucket), 1)]
    _check(tallies, document_column)
    pairs, rows = sum(tally.pairs for tally in tallies), queries[1].rows
    parts = min(rows, -(-pairs // part_pairs))
    bounds = np.linspace(0, rows, parts + 1).astype(np.int64)
    at_once = max(1, parts * count * BUCKET_ROWS // pairs)
    entries: list[ShardEntry] = []
    for first in range(0, parts, at_once):
        numbers = range(first, min(first + at_once, parts))
        spans = [(int(bounds[number]), int(bounds[number + 1])) for number in numbers]
        listed = spread(_list, ((spans, len(asked), *refs) for refs in of_bucket), len(spans))
        writes = [
            (writer, part_name(number, parts), span[0], *(of_spans[index] for of_spans in listed))
            for index, (number, span) in enumerate(zip(numbers, spans, strict=True))
        ]
        entries += [result_of(ref) for (ref,) in spread(_write, writes, 1)]
    return entries


def joined_members(pieces: Sequence[Members]) -> Members:
    """The pieces' rows, one behind another."""
    documents = [piece.documents for piece in pieces if piece.documents is not None]
    return Members(
        np.concatenate([np.empty((0, 2), np.uint64), *(piece.keys for piece in pieces)]),
        np.concatenate([np.empty(0, np.int64), *(piece.rows for piece in pieces)]),
        joined_ids([piece.ids for piece in pieces]),
        joined_ids(documents) if documents else None,
    )


def tally(queries: Members, corpus: Members) -> Tally:
    """Count the pairs of a bucket."""
    _, _, counts = _candidates(queries, corpus)
    most = (0, None, None) if not len(counts) else (int(counts.max()), *_named(queries, int(counts.argmax())))
    without = np.flatnonzero(counts == 0)
    first = without[np.argsort(queries.rows[without])[:_SHOWN]].tolist()
    return Tally(
        int(counts.sum()), most, len(without), [(int(queries.rows[row]), *_named(queries, row)) for row in first]
    )


def listed(queries: Members, corpus: Members, spans: Sequence[tuple[int, int]]) -> list[Listed]:
    """The queries of a bucket with their candidates, for each span of global rows of queries."""
    order, starts, counts = _candidates(queries, corpus)
    lists = []
    for first, last in spans:
        rows = np.flatnonzero((queries.rows >= first) & (queries.rows < last) & (counts > 0))
        candidates = corpus.ids.take(pa.array(order[run_positions(starts[rows], counts[rows])]))
        lists.append(Listed(queries.rows[rows], queries.ids.take(pa.array(rows)), counts[rows], candidates))
    return lists


def joined_lists(pieces: Sequence[Listed]) -> Listed:
    """The buckets' queries together, in the order of their rows."""
    rows = np.concatenate([piece.rows for piece in pieces])
    counts = np.concatenate([piece.counts for piece in pieces])
    order = np.argsort(rows)
    positions = run_positions((np.cumsum(counts) - counts)[order], counts[order])
    return Listed(
        rows[order],
        joined_ids([piece.query_ids for piece in pieces]).take(pa.array(order)),
        counts[order],
        joined_ids([piece.corpus_ids for piece in pieces]).take(pa.array(positions)),
    )


def _candidates(queries: Members, corpus: Members) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the corpus by document, and for each query where its own begin among them and how many they are."""
    order, first, length = grouped(corpus.keys)
    found, group = lookup(queries.keys, corpus.keys[order[first]])
    starts, counts = np.zeros((2, len(queries.keys)), np.int64)
    starts[found], counts[found] = first[group], length[group]
    return order, starts, counts


def _named(queries: Members, row: int) -> tuple[Any, Any]:
    document = None if queries.documents is None else queries.documents[row].as_py()
    return queries.ids[row].as_py(), document


def _groups(
    role: Any, request: ScanRequest, corpus: Corpus, document_column: str | None
) -> list[tuple[Side, list[tuple[ShardPlan, ShardPlan | None]]]]:
    """The side, and the shards that one task reads."""
    side = Side(text_side(role, corpus, request.on_bad_row), None)
    plans: list[tuple[ShardPlan, ShardPlan | None]] = [(plan, None) for plan in corpus.shards]
    if document_column is not None:
        documents = _scan_documents(request, document_column)
        side = dataclasses.replace(side, documents=text_side(role, documents, request.on_bad_row))
        plans = list(zip(corpus.shards, documents.shards, strict=True))
    return [(side, group) for group in grouped_by_rows(plans, [plan.rows for plan, _ in plans], BUCKET_ROWS)]


def _scan_documents(request: ScanRequest, column: str) -> Corpus:
    # As ids that need not be unique, documents may be strings or integers.
    spec = dataclasses.replace(request.spec, id_column=column, text_columns=())
    try:
        return prepare_corpus(dataclasses.replace(request, spec=spec, check_ids=False))
    except InputError as error:
        raise InputError(f"--document-column {column}: {error.message}", error.remedy) from error


def _check(tallies: Sequence[Tally], document_column: str | None) -> None:
    without = sum(tally.without for tally in tallies)
    if without:
        examples = sorted(example for tally in tallies for example in tally.examples)[:_SHOWN]
        shown = ", ".join(f"{query!r} ({document!r})" for _, query, document in examples)
        raise InputError(
            f"{without:,} queries have a document (column {document_column!r}) that no row of the corpus has: {shown}",
            "name the corpus of these queries with --corpus, or leave them out",
        )
    most, query, document = max((tally.most for tally in tallies), key=lambda most: most[0])
    if most > MAX_CANDIDATES:
        raise InputError(
            f"query {query!r} has {most:,} candidates, all rows of document {document!r}; {MAX_CANDIDATES:,} are the "
            "most",
            "search first and give --hits, or cut the documents smaller",
        )
    if not most:
        raise InputError("there are no queries, or no rows in the corpus", "check the inputs")


def _split(side: Side, shards: Sequence[tuple[ShardPlan, ShardPlan | None]], count: int) -> list[Members]:
    members = side.members(shards)
    return [members.take(rows) for rows in bucket_rows(members.keys, count)]


def _count(asked: int, *pieces: Members) -> list[Tally]:
    return [tally(joined_members(pieces[:asked]), joined_members(pieces[asked:]))]


def _list(spans: Sequence[tuple[int, int]], asked: int, *pieces: Members) -> list[Listed]:
    return listed(joined_members(pieces[:asked]), joined_members(pieces[asked:]), spans)


def _write(writer: Writer, name: str, first_row: int, *pieces: Listed) -> list[ShardEntry]:
    together = joined_lists(pieces)
    part = unscored_part(together.query_ids, together.counts, together.corpus_ids, first_row)
    return [writer.commit(name, part)]
