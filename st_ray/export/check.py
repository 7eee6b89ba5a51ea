"""What an exported graph gives beside what torch gives of the same inputs in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from st_ray.core.errors import ModelError
from st_ray.scoring.agreement import cosines, rank_correlation


@dataclass(frozen=True)
class Thresholds:
    """The worst agreement that is accepted.

    Attributes:
        cosine: the least of any text's embedding.
        mean_cosine: over all texts.
        difference: the largest of any pair's logit; None for any.
        correlation: Spearman's rho of logits.
    """

    cosine: float
    mean_cosine: float
    difference: float | None
    correlation: float


EXACT = Thresholds(cosine=0.9999, mean_cosine=0.99999, difference=1e-3, correlation=0.9999)
"""Of graphs that compute the same in another order."""
APPROXIMATE = Thresholds(cosine=0.999, mean_cosine=0.9995, difference=0.1, correlation=0.999)
"""Of those with another GELU, or in float16."""
INT8 = Thresholds(cosine=0.9, mean_cosine=0.98, difference=None, correlation=0.95)
"""Of those whose products are computed in int8."""
_SAME = 1e-3
"""Logits that differ by no more are the same, whatever becomes of their order."""


@dataclass(frozen=True)
class EncoderAgreement:
    """How embeddings agree."""

    texts: int
    least_cosine: float
    mean_cosine: float

    @classmethod
    def of(cls, found: np.ndarray, exact: np.ndarray) -> EncoderAgreement:
        """Of embeddings `[n, d]`."""
        agreement = cosines(found, exact)
        return cls(len(exact), float(agreement.min()), float(agreement.mean()))

    def failures(self, least: Thresholds) -> list[str]:
        """What is worse than accepted, a line each."""
        return [
            f"{name} is {value:.5f}, expected {bound:g} or more"
            for name, value, bound in (
                ("the least cosine", self.least_cosine, least.cosine),
                ("the mean cosine", self.mean_cosine, least.mean_cosine),
            )
            if not value >= bound
        ]


@dataclass(frozen=True)
class ScorerAgreement:
    """How logits agree."""

    pairs: int
    largest_difference: float
    correlation: float

    @classmethod
    def of(cls, found: np.ndarray, exact: np.ndarray) -> ScorerAgreement:
        """Of logits `[n, labels]`."""
        return cls(len(exact), float(np.abs(found - exact).max()), rank_correlation(found.ravel(), exact.ravel()))

    def failures(self, least: Thresholds) -> list[str]:
        """What is worse than accepted, a line each."""
        found = []
        if least.difference is not None and not self.largest_difference <= least.difference:
            found.append(f"the largest difference is {self.largest_difference:.2g}, allowed is {least.difference:g}")
        if not (self.correlation >= least.correlation or self.largest_difference <= _SAME):
            found.append(f"the rank correlation is {self.correlation:.5f}, expected {least.correlation:g} or more")
        return found


Agreement = EncoderAgreement | ScorerAgreement


def require(agreement: Agreement, least: Thresholds, graph: str) -> None:
    """Raise ModelError where the graph agrees less than accepted."""
    if failures := agreement.failures(least):
        raise ModelError(
            f"{graph} does not compute what torch does: {'; '.join(failures)}",
            "choose another optimization or quantization, other calibration texts, or allow it by lower thresholds",
        )
