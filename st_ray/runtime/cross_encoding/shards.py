"""The step before the scoring of shards of data: read and tokenized. Run by workers; Ray-free inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from st_ray.models.pair_tokenizer import TokenizedPairs
from st_ray.runtime.cross_encoding.steps import Pairs, PairTokenizer, ScorerLoader, scoring_row, tokenizer_of
from st_ray.runtime.pipeline import Row, task_of
from st_ray.store.readers.plan import ShardPlan

Texts = tuple[list[str], list[str], np.ndarray, np.ndarray]
"""First texts, second texts, and which first and which second text each pair has, int32 `[n]`."""


class PairSource(Protocol):
    """How shards of pairs are read. Picklable."""

    def read(self, shard: ShardPlan) -> tuple[Texts, Pairs]:
        """A shard's texts, and what travels beside them.

        Raises:
            InputError: a file changed or is damaged, or a row is bad.
        """


@dataclass(frozen=True)
class ReadShard:
    """A shard's pairs, tokenized."""

    loader: ScorerLoader
    source: PairSource
    prompt: str

    def __call__(self, row: Row) -> Row:
        """What `ScorePairs` takes."""
        shard: ShardPlan = task_of(row)
        texts, pairs = self.source.read(shard)
        tokens = tokenizer_of(self.loader).tokenize(*texts, self.prompt)
        return scoring_row(tokens, pairs, rows=shard.rows)


@dataclass(frozen=True)
class ReadAnyShard:
    """The tokens of the pairs of one shard, drawn at random."""

    shards: Sequence[ShardPlan]
    source: PairSource
    prompt: str

    def __call__(self, tokenizer: PairTokenizer, rng: np.random.Generator) -> TokenizedPairs:
        """Read it."""
        texts, _ = self.source.read(self.shards[int(rng.integers(len(self.shards)))])
        return tokenizer.tokenize(*texts, self.prompt)
