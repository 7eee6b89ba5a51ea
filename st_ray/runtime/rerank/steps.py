"""The steps around the scoring of a shard: its pairs are read and tokenized, its hits ranked; Ray-free inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from st_ray.models.pair_tokenizer import TokenizedPairs
from st_ray.runtime.cross_encoding.steps import PairTokenizer, ScorerLoader, scoring_row, tokenizer_of
from st_ray.runtime.pipeline import Row, task_of, unpack
from st_ray.runtime.report.scores import counted
from st_ray.runtime.rerank.candidates import CandidateBlock, CandidateShard, read_candidates
from st_ray.store.hits import HitsFormat, hits_bytes, hits_table
from st_ray.store.output import Part

RETRIEVAL_SCORE = "retrieval_score"


@dataclass(frozen=True)
class ReadPairs:
    """Before the scoring: the shard's candidates with their texts, each distinct text tokenized once."""

    loader: ScorerLoader
    prompt: str

    def __call__(self, row: Row) -> Row:
        """The tokens of all pairs, and the candidates without their texts."""
        shard: CandidateShard = task_of(row)
        block = read_candidates(shard)
        tokens = _tokenize_block(tokenizer_of(self.loader), block, self.prompt)
        return scoring_row(tokens, _Candidates.of(shard, block))


@dataclass(frozen=True)
class ReadSomePairs:
    """The tokens of the pairs of one shard, drawn at random."""

    shards: Sequence[CandidateShard]
    prompt: str

    def __call__(self, tokenizer: PairTokenizer, rng: np.random.Generator) -> TokenizedPairs:
        """Read it."""
        shard = self.shards[int(rng.integers(len(self.shards)))]
        return _tokenize_block(tokenizer, read_candidates(shard), self.prompt)


def _tokenize_block(tokenizer: PairTokenizer, block: CandidateBlock, prompt: str) -> TokenizedPairs:
    """The tokens of all pairs of a block."""
    query_of = np.repeat(np.arange(len(block.counts), dtype=np.int32), block.counts)
    return tokenizer.tokenize(block.query_texts, block.texts, query_of, block.text_of, prompt)


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

    def describe(self, number: int) -> str:
        query = self.query_ids[int(self.query_of[number])].as_py()
        return f"query {query!r} and document {self.corpus_ids[number].as_py()!r}"


@dataclass(frozen=True)
class RankHits:
    """Behind the scoring: each query's candidates by their scores, best first, equal ones in the order they came in.

    Attributes:
        top_k: hits of a query that are kept; None for all.
        keep_retrieval_score: whether the scores that the candidates came with become a column.
    """

    top_k: int | None
    keep_retrieval_score: bool
    format: HitsFormat

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published."""
        candidates: _Candidates = unpack(row["pairs"])
        scores = np.asarray(row["scores"])[:, 0]
        order = np.lexsort((-scores, candidates.query_of))
        counts = candidates.counts
        starts = np.cumsum(counts) - counts
        best = scores[order[starts]]
        if self.top_k is not None:
            ranks = np.arange(len(order)) - np.repeat(starts, counts)
            order, counts = order[ranks < self.top_k], np.minimum(counts, self.top_k)
        chosen = pa.array(order)
        table = hits_table(candidates.query_ids, counts, candidates.corpus_ids.take(chosen), scores[order])
        if self.keep_retrieval_score:
            table = table.append_column(RETRIEVAL_SCORE, pa.array(candidates.scores[order]))
        figures = {"queries": len(counts), "pairs": len(scores), **unpack(row["figures"])}
        data = hits_bytes(table, self.format)
        return Part(
            data=data,
            rows=len(table),
            first_row=candidates.first_pair,
            figures=figures,
            scores=counted({"the best hit of each query": best, "all pairs": scores}),
        )
