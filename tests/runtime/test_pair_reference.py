"""How far a scorer in fewer bits may rank its pairs otherwise than one in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from st_ray.core.errors import ModelError
from st_ray.models.pair_tokenizer import TokenizedPairs
from st_ray.runtime.cross_encoding.reference import PairReference, measure_correlation
from tests.stubs import StubPairTokenizer


class Scorer:
    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    def score_tokenized(self, tokens: TokenizedPairs, **how: Any) -> np.ndarray:
        return self.scores[:, None]


EXACT = np.linspace(0, 1, 20, dtype=np.float32)
PLACES = np.arange(20)
REFERENCE = PairReference(StubPairTokenizer().tokenize(["a"] * 20, ["b"] * 20, PLACES, PLACES), EXACT)


def test_the_rank_correlation() -> None:
    assert measure_correlation(Scorer(EXACT * 3 + 1), REFERENCE, 1.0) == pytest.approx(1.0)
    swapped = EXACT.copy()
    swapped[[3, 4]] = swapped[[4, 3]]
    found = measure_correlation(Scorer(swapped), REFERENCE, 0.99)
    assert 0.99 < found < 1
    with pytest.raises(ModelError, match=r"rank correlation of 0\.99.*less than --min-correlation 1"):
        measure_correlation(Scorer(swapped), REFERENCE, 1.0)
    with pytest.raises(ModelError, match="rank correlation of nan"):
        measure_correlation(Scorer(np.ones(20, np.float32)), REFERENCE, 0.5)
    with pytest.raises(ModelError, match="rank correlation of nan"):
        measure_correlation(Scorer(np.append(EXACT[:-1], np.float32("nan"))), REFERENCE, 0.5)


def test_scores_that_hardly_differ_need_no_order() -> None:
    flat = PairReference(REFERENCE.tokens, np.ones(20, np.float32))
    assert measure_correlation(Scorer(np.ones(20, np.float32) + 1e-4), flat, 1.0) == 1.0
