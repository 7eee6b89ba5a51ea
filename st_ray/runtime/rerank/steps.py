"""The three steps of scoring a shard: read and tokenize, score, rank. Run by workers; Ray-free inside.

All pairs of a shard are batched together by their length, whatever query they belong to; their scores return to their
places, and only the last step looks at queries again.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from st_ray.core.errors import ShardError
from st_ray.models.pair_tokenizer import TokenizedPairs
from st_ray.runtime.pipeline import Row, pack, task_of, unpack
from st_ray.runtime.rerank.candidates import CandidateBlock, CandidateShard, read_candidates
from st_ray.store.hits import HitsFormat, hits_bytes, hits_table
from st_ray.store.output import Part

RETRIEVAL_SCORE = "retrieval_score"


class PairTokenizer(Protocol):
    """Pairs of texts to token ids."""

    def tokenize(
        self, first: list[str], second: list[str], first_of: np.ndarray, second_of: np.ndarray, prompt: str = ""
    ) -> TokenizedPairs:
        """See `st_ray.models.pair_tokenizer.PairTokenizer`."""


class PairScorer(Protocol):
    """Token ids of pairs to scores."""

    def score_tokenized(
        self,
        tokens: TokenizedPairs,
        *,
        batch_tokens: int | None = None,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """float32 `[n, 1]` in the order of the pairs; `on_batch(pairs, tokens)` is called after each batch."""


class ScorerLoader(Protocol):
    """Makes the two halves of a cross-encoder on the machine that needs them; picklable and hashable."""

    def tokenizer(self) -> PairTokenizer:
        """For CPU tasks: no weights are loaded."""

    def scorer(self, threads: int | None) -> PairScorer:
        """For actors: the model, with `threads` compute threads; None for the library's own number."""

    def __hash__(self) -> int:
        """Equal loaders load the same: a worker keeps what it has loaded."""


@dataclass(frozen=True)
class ReadPairs:
    """First step: the shard's candidates with their texts, each distinct text tokenized once."""

    loader: ScorerLoader
    prompt: str

    def __call__(self, row: Row) -> Row:
        """The tokens of all pairs, and the candidates without their texts."""
        shard: CandidateShard = task_of(row)
        block = read_candidates(shard)
        tokens = tokenize_block(_tokenizer(self.loader), block, self.prompt)
        return {"tokens": pack(tokens), "candidates": pack(_Candidates.of(shard, block))}


def tokenize_block(tokenizer: PairTokenizer, block: CandidateBlock, prompt: str) -> TokenizedPairs:
    """The tokens of all pairs of a block."""
    query_of = np.repeat(np.arange(len(block.counts), dtype=np.int32), block.counts)
    return tokenizer.tokenize(block.query_texts, block.texts, query_of, block.text_of, prompt)


@functools.lru_cache(maxsize=2)
def _tokenizer(loader: ScorerLoader) -> PairTokenizer:
    # Ray uses a worker process for many tasks; loading a tokenizer takes longer than a small shard.
    return loader.tokenizer()


@dataclass(frozen=True)
class _Candidates:
    """What the last step needs of a shard: see `CandidateBlock`."""

    query_ids: pa.Array
    counts: np.ndarray
    corpus_ids: pa.Array
    scores: np.ndarray
    first_pair: int

    @classmethod
    def of(cls, shard: CandidateShard, block: CandidateBlock) -> _Candidates:
        return cls(block.query_ids, block.counts, block.corpus_ids, block.scores, shard.first_pair)

    @property
    def query_of(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.counts)), self.counts)


class ScorePairs:
    """Second step, in an actor: the model, loaded once, over the shard's pairs.

    Args:
        measure: measures the scorer once it is loaded, and raises where it is not good enough; its results are noted
            with every part.
    """

    def __init__(
        self,
        loader: ScorerLoader,
        threads: int,
        batch_tokens: int | None,
        meter: Any,
        measure: Callable[[PairScorer], Mapping[str, float]] | None = None,
    ) -> None:
        self._scorer = loader.scorer(threads)
        self._measured = measure(self._scorer) if measure else {}
        self._batch_tokens = batch_tokens
        self._meter = meter

    def __call__(self, row: Row) -> Row:
        """The pairs' scores, float32 `[n]`; raises ShardError for one that is not finite."""
        begun = time.perf_counter()
        tokens: TokenizedPairs = unpack(row["tokens"])
        scores = self._scorer.score_tokenized(
            tokens,
            batch_tokens=self._batch_tokens,
            on_batch=lambda rows, count: self._meter.add(rows=rows, tokens=count),
        )[:, 0]
        self._meter.add(seconds=time.perf_counter() - begun)
        self._meter.flush()
        if not np.isfinite(scores).all():
            raise _not_finite(unpack(row["candidates"]), scores)
        figures = {"tokens": int(tokens.lengths.sum(dtype=np.int64)), **self._measured}
        return {"scores": scores, "figures": pack(figures), "candidates": row["candidates"]}


def _not_finite(candidates: _Candidates, scores: np.ndarray) -> ShardError:
    bad = np.flatnonzero(~np.isfinite(scores))
    query = candidates.query_ids[int(candidates.query_of[bad[0]])].as_py()
    document = candidates.corpus_ids[int(bad[0])].as_py()
    return ShardError(
        f"the score of query {query!r} and document {document!r} is not finite (such pairs in this shard: {len(bad)})",
        "use --dtype float32 if the model overflows in a shorter type, and check the model's weights",
    )


@dataclass(frozen=True)
class RankHits:
    """Last step: each query's candidates by their scores, best first, equal ones in the order they came in.

    Attributes:
        top_k: hits of a query that are kept; None for all.
        keep_retrieval_score: whether the scores that the candidates came with become a column.
    """

    top_k: int | None
    keep_retrieval_score: bool
    format: HitsFormat

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published."""
        candidates: _Candidates = unpack(row["candidates"])
        scores = np.asarray(row["scores"])
        order = np.lexsort((-scores, candidates.query_of))
        counts = candidates.counts
        if self.top_k is not None:
            ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
            order, counts = order[ranks < self.top_k], np.minimum(counts, self.top_k)
        chosen = pa.array(order)
        table = hits_table(candidates.query_ids, counts, candidates.corpus_ids.take(chosen), scores[order])
        if self.keep_retrieval_score:
            table = table.append_column(RETRIEVAL_SCORE, pa.array(candidates.scores[order]))
        figures = {"queries": len(counts), "pairs": len(scores), **unpack(row["figures"])}
        data = hits_bytes(table, self.format)
        return Part(data=data, rows=len(table), first_row=candidates.first_pair, figures=figures)
