"""Retrieval metrics of ranked hits against judgements, a value a query, so that parts merge exactly.

The figures are trec_eval's, through ir_measures, but for two things. Hits are ranked by their rank alone: trec_eval
would sort them by score and break ties by id, so it is given scores that fall with the rank. And average precision at
k is divided by the smaller of k and the number of relevant documents, as Sentence Transformers' evaluator does it;
trec_eval divides by all relevant ones, so that a query with more than k of them could never reach 1. nDCG takes the
relevance itself as the gain; all others call a document relevant from 1 on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_ray.core.errors import ConfigError, InputError
from st_ray.evaluation.qrels import Qrels

_MEASURES: Mapping[str, Callable[[int], Any]] = {
    "ndcg": lambda k: ir_measures.nDCG @ k,
    "mrr": lambda k: ir_measures.RR @ k,
    "map": lambda k: ir_measures.AP @ k,
    "recall": lambda k: ir_measures.R @ k,
    "precision": lambda k: ir_measures.P @ k,
    "hit": lambda k: ir_measures.Success @ k,
}
_ALIASES = {"success": "hit", "accuracy": "hit", "p": "precision", "r": "recall", "rr": "mrr", "ap": "map"}
# Whatever else is installed must not change who computes a figure.
_LIBRARY = ir_measures.providers.FallbackProvider([ir_measures.pytrec_eval, ir_measures.msmarco])
_ROWS_AT_ONCE = 100_000
"""Hits that stand in the library's dictionaries at a time."""


@dataclass(frozen=True)
class RetrievalMetric:
    """One figure: `name` as the user wrote it, in lower case; the kind of measure; the ranks it looks at."""

    name: str
    kind: str
    cutoff: int

    @property
    def measure(self) -> Any:
        """The library's."""
        return _MEASURES[self.kind](self.cutoff)


def parse_metrics(names: Sequence[str]) -> tuple[RetrievalMetric, ...]:
    """Metrics from names such as `ndcg@10`, in any case, each once. Raises ConfigError for a name that is none."""
    parsed: dict[str, RetrievalMetric] = {}
    for name in names:
        kind, _, cutoff = name.strip().lower().partition("@")
        kind_of = _ALIASES.get(kind, kind)
        if kind_of not in _MEASURES or not cutoff.isascii() or not cutoff.isdigit() or int(cutoff) < 1:
            raise ConfigError(
                f"{name!r} is no metric",
                f"write NAME@K with K of 1 or more and one of {', '.join(_MEASURES)} "
                f"(or {', '.join(f'{alias} for {meant}' for alias, meant in _ALIASES.items())})",
            )
        canonical = f"{kind}@{int(cutoff)}"
        parsed[canonical] = RetrievalMetric(canonical, kind_of, int(cutoff))
    if not parsed:
        raise ConfigError("no metric was named", "write such as ndcg@10,recall@100")
    return tuple(parsed.values())


@dataclass(frozen=True, eq=False)
class RetrievalScores:
    """Metrics query by query, of some of the queries; `merge_scores` puts parts together.

    Attributes:
        names: `[m]` the metrics.
        query_ids: `[q]` string: queries that have hits and a relevant document in the judgements.
        values: `[q, m]` float64.
        hits: hits looked at.
        queries: queries that have hits.
    """

    names: tuple[str, ...]
    query_ids: pa.Array
    values: np.ndarray
    hits: int
    queries: int

    @property
    def unjudged(self) -> int:
        """Queries that have hits but no relevant document in the judgements: in no mean."""
        return self.queries - len(self.query_ids)

    def means(self, qrels: Qrels) -> dict[str, float]:
        """Of each metric over all queries that `qrels` has a relevant document for; 0 for those without hits.

        The sum is rounded once, so it depends on neither the order of the queries nor how they were cut into parts.
        """
        return {name: math.fsum(column) / qrels.judged for name, column in zip(self.names, self.values.T, strict=True)}

    def without_hits(self, qrels: Qrels) -> pa.Array:
        """The query ids that `qrels` has a relevant document for and that are not among these."""
        wanted = qrels.query_ids.filter(pa.array(qrels.relevant > 0))
        return wanted.filter(pc.invert(pc.is_in(wanted, value_set=self.query_ids)))


def merge_scores(parts: Sequence[RetrievalScores]) -> RetrievalScores:
    """The scores of all parts as if they had been one. Raises InputError where a query is in more than one."""
    query_ids = pa.concat_arrays([part.query_ids for part in parts])
    counts = query_ids.value_counts()
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise InputError(f"query {twice[0].as_py()!r} has hits in two parts", "search again: a query is in one part")
    return RetrievalScores(
        names=parts[0].names,
        query_ids=query_ids,
        values=np.concatenate([part.values for part in parts]),
        hits=sum(part.hits for part in parts),
        queries=sum(part.queries for part in parts),
    )


def score_hits(hits: pa.Table, qrels: Qrels, metrics: Sequence[RetrievalMetric]) -> RetrievalScores:
    """Metrics of each query of `hits` that `qrels` has a relevant document for.

    Args:
        hits: columns query_id, corpus_id (strings or integers) and rank; all hits of a query, in any order.
        qrels: the judgements.
        metrics: what to compute.

    Raises:
        InputError: a query has the same document, or the same rank, twice.
    """
    queries = hits["query_id"].combine_chunks().cast(pa.string()).dictionary_encode()
    positions = qrels.positions(queries.dictionary)
    judged = positions >= 0
    judged[judged] = qrels.relevant[positions[judged]] > 0
    ranking = _Ranking.of(hits, queries, judged, max(metric.cutoff for metric in metrics))
    query_ids, positions = queries.dictionary.filter(pa.array(judged)), positions[judged]
    values = np.zeros((len(query_ids), len(metrics)))
    for block in ranking.blocks():
        names = query_ids[block].to_pylist()
        run = {name: ranking.of_query(name, at) for at, name in enumerate(names, block.start)}
        judgements = {name: qrels.of_query(at) for name, at in zip(names, positions[block], strict=True)}
        values[block] = _library_values(run, judgements, metrics)
    _divide_by_reachable(values, qrels.relevant[positions], metrics)
    return RetrievalScores(
        names=tuple(metric.name for metric in metrics),
        query_ids=query_ids,
        values=values,
        hits=len(hits),
        queries=len(queries.dictionary),
    )


def _divide_by_reachable(values: np.ndarray, relevant: np.ndarray, metrics: Sequence[RetrievalMetric]) -> None:
    """Make the library's average precision, a sum over `relevant`, one over min(k, relevant); in place."""
    for column, metric in enumerate(metrics):
        if metric.kind == "map":
            values[:, column] = values[:, column] * relevant / np.minimum(relevant, metric.cutoff)


def _library_values(
    run: Mapping[str, Any], judgements: Mapping[str, Any], metrics: Sequence[RetrievalMetric]
) -> np.ndarray:
    """`[q, m]` float64, in the order of `run`."""
    rows = {query: row for row, query in enumerate(run)}
    measures = [metric.measure for metric in metrics]
    columns = {measure: column for column, measure in enumerate(dict.fromkeys(measures))}
    values = np.zeros((len(rows), len(columns)))
    for figure in _LIBRARY.evaluator(list(columns), judgements).iter_calc(run):
        values[rows[figure.query_id], columns[figure.measure]] = figure.value
    return values[:, [columns[measure] for measure in measures]]


@dataclass(frozen=True, eq=False)
class _Ranking:
    """The judged queries' hits, by query and rank, as deep as the metrics look.

    Attributes:
        starts: `[q + 1]` int64: where each query's hits begin.
        corpus_ids: `[n]` string.
    """

    starts: np.ndarray
    corpus_ids: pa.Array

    @classmethod
    def of(cls, hits: pa.Table, queries: Any, judged: np.ndarray, depth: int) -> _Ranking:
        """From a table, its dictionary-encoded queries, and which of them are judged."""
        codes, ranks = queries.indices.to_numpy(), hits["rank"].to_numpy()
        rows = np.flatnonzero(judged[codes])
        rows = rows[np.lexsort((ranks[rows], codes[rows]))]
        codes, ranks = codes[rows], ranks[rows]
        same = np.flatnonzero((np.diff(codes) == 0) & (np.diff(ranks) == 0))
        if len(same):
            query = queries.dictionary[int(codes[same[0]])].as_py()
            raise InputError(f"query {query!r} has rank {ranks[same[0]]} twice", "rank its hits 1, 2, 3 and so on")
        counts = np.bincount(codes, minlength=len(judged))[judged]
        first = np.repeat(np.cumsum(counts) - counts, counts)
        rows = rows[np.arange(len(rows)) - first < depth]
        corpus_ids = hits["corpus_id"].take(pa.array(rows)).combine_chunks().cast(pa.string())
        return cls(np.concatenate([[0], np.cumsum(np.minimum(counts, depth), dtype=np.int64)]), corpus_ids)

    def blocks(self) -> Iterator[slice]:
        """Consecutive queries with about `_ROWS_AT_ONCE` hits together."""
        begin, queries = 0, len(self.starts) - 1
        while begin < queries:
            end = int(np.searchsorted(self.starts, self.starts[begin] + _ROWS_AT_ONCE, side="right")) - 1
            end = max(end, begin + 1)
            yield slice(begin, end)
            begin = end

    def of_query(self, query: str, at: int) -> dict[str, float]:
        """`{corpus id: score}`; scores are whole numbers that fall with the rank, which float32 holds exactly."""
        start, count = int(self.starts[at]), int(self.starts[at + 1] - self.starts[at])
        documents = self.corpus_ids.slice(start, count).to_pylist()
        run = dict(zip(documents, map(float, range(count, 0, -1)), strict=True))
        if len(run) != count:
            twice = next(document for n, document in enumerate(documents) if document in documents[:n])
            raise InputError(f"query {query!r} has the document {twice!r} twice", "leave one hit of each document")
        return run
