"""The step that scores a shard of pairs, and what it needs of a cross-encoder. Run by workers; Ray-free inside.

All pairs of a shard are batched together by their length, whatever query they belong to; their scores return to their
places.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from st_ray.core.errors import ShardError
from st_ray.models.pair_tokenizer import TokenizedPairs
from st_ray.models.within_memory import OutOfMemoryError
from st_ray.runtime.pipeline import Row, pack, unpack
from st_ray.runtime.work import ShardWork


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
        on_batch: Callable[[int, int, int], None] | None = None,
    ) -> np.ndarray:
        """float32 `[n, labels]` in the order of the pairs; `on_batch(pairs, tokens, places)` after each batch."""


class ScorerLoader(Protocol):
    """Makes the two halves of a cross-encoder on the machine that needs them; picklable and hashable."""

    def tokenizer(self) -> PairTokenizer:
        """For CPU tasks: no weights are loaded."""

    def scorer(self, threads: int | None) -> PairScorer:
        """For actors: the model, with `threads` compute threads; None for the library's own number."""

    def __hash__(self) -> int:
        """Equal loaders load the same: a worker keeps what it has loaded."""


class Pairs(Protocol):
    """What travels beside the tokens of a shard's pairs."""

    def describe(self, number: int) -> str:
        """Name a pair, for an error."""


@functools.lru_cache(maxsize=2)
def tokenizer_of(loader: ScorerLoader) -> PairTokenizer:
    """The loader's tokenizer, loaded once a process.

    Ray uses a worker process for many tasks; loading a tokenizer takes longer than a small shard.
    """
    return loader.tokenizer()


def scoring_row(tokens: TokenizedPairs, pairs: Pairs, rows: int | None = None) -> Row:
    """What `ScorePairs` takes; `rows` counts for the progress, where it is not that of pairs."""
    return {"tokens": pack(tokens), "pairs": pack(pairs), "rows": len(tokens) if rows is None else rows}


class ScorePairs:
    """The step, in an actor: the model, loaded once, over the shard's pairs.

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
        """The pairs' scores, float32 `[n, labels]`; raises ShardError for one that is not finite."""
        tokens: TokenizedPairs = unpack(row["tokens"])
        work = ShardWork(self._meter, row["rows"] / max(1, len(tokens)))
        try:
            scores = self._scorer.score_tokenized(
                tokens,
                batch_tokens=self._batch_tokens,
                on_batch=work.on_batch,
            )
        except OutOfMemoryError as error:
            named: Pairs = unpack(row["pairs"])
            raise error.of(named.describe(error.row)) from error
        work.end()
        bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if len(bad):
            pairs: Pairs = unpack(row["pairs"])
            raise ShardError(
                f"the score of {pairs.describe(int(bad[0]))} is not finite (such pairs in this shard: {len(bad)})",
                "use --dtype float32 if the model overflows in a shorter type, and check the model's weights",
            )
        figures = {"tokens": int(tokens.lengths.sum(dtype=np.int64)), "places": work.places, **self._measured}
        return {"scores": scores, "figures": pack(figures), "pairs": row["pairs"]}
