"""A seeded sample of pairs scored in float32: what a run in fewer bits is measured by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from st_ray.core.errors import ModelError
from st_ray.evaluation.correlation import spearman
from st_ray.models.pair_tokenizer import TokenizedPairs
from st_ray.runtime.cross_encoding.steps import PairScorer, PairTokenizer, ScorerLoader

PAIRS = 64
_SAME = 1e-3
"""Scores that differ by no more are the same, whatever becomes of their order."""


@dataclass(frozen=True)
class PairReference:
    """Some pairs, and their scores in float32, `[n, labels]`."""

    tokens: TokenizedPairs
    scores: np.ndarray


def make_pair_reference(
    loader: ScorerLoader,
    read: Callable[[PairTokenizer, np.random.Generator], TokenizedPairs],
    seed: int,
    threads: int | None,
) -> PairReference:
    """Score a sample of pairs with the scorer of `loader`, which must compute in float32.

    Args:
        read: the tokens of the pairs of a shard that it draws.
        threads: of the scorer.

    Raises:
        InputError: a file is missing or damaged.
        ModelError: the model cannot be loaded.
    """
    rng = np.random.default_rng(seed)
    tokens = read(loader.tokenizer(), rng)
    chosen = np.sort(rng.choice(len(tokens), min(PAIRS, len(tokens)), replace=False))
    sample = replace(tokens, first_of=tokens.first_of[chosen], second_of=tokens.second_of[chosen])
    return PairReference(sample, loader.scorer(threads).score_tokenized(sample))


def measure_correlation(scorer: PairScorer, reference: PairReference, least: float) -> float:
    """Spearman's rank correlation of the scorer's scores of the sample with those in float32.

    Raises:
        ModelError: it is less than `least`.
    """
    found, exact = scorer.score_tokenized(reference.tokens).ravel(), reference.scores.ravel()
    if np.abs(found - exact).max(initial=0.0) <= _SAME:
        return 1.0
    correlation = spearman(found, exact) if np.isfinite(found).all() else math.nan
    if not correlation >= least:
        raise ModelError(
            f"scores of this dtype have a rank correlation of {correlation:.5f} with those in float32 over a sample of "
            f"{len(reference.tokens)} pairs, less than --min-correlation {least:g}",
            "use --dtype float32, or allow it with a lower --min-correlation",
        )
    return correlation
