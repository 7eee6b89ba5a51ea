"""Gold labels against predicted ones, as counts; accuracy and F1 out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from st_ray.core.errors import InputError

Average = Literal["binary", "macro", "micro", "weighted"]


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often which label was predicted for which; `+` joins the counts of other pairs.

    Attributes:
        labels: `[c]` all labels that occur, in rising order.
        counts: `[c, c]` int64, gold by predicted.
    """

    labels: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, gold: np.ndarray, predicted: np.ndarray) -> Confusion:
        """From the labels of pairs, `[n]` numbers."""
        labels, codes = np.unique(np.concatenate([gold, predicted]), return_inverse=True)
        size = len(labels)
        cells = codes[: len(gold)] * size + codes[len(gold) :]
        return cls(labels, np.bincount(cells, minlength=size * size).reshape(size, size))

    def __add__(self, other: Confusion) -> Confusion:
        """Of both sets of pairs."""
        labels = np.union1d(self.labels, other.labels)
        counts = np.zeros((len(labels), len(labels)), np.int64)
        for part in (self, other):
            at = np.searchsorted(labels, part.labels)
            counts[np.ix_(at, at)] += part.counts
        return Confusion(labels, counts)

    @property
    def total(self) -> int:
        """Pairs."""
        return int(self.counts.sum())

    @property
    def gold(self) -> np.ndarray:
        """The labels that occur as gold."""
        return self.labels[self.counts.sum(axis=1) > 0]

    @property
    def accuracy(self) -> float:
        """The share of pairs whose label was predicted."""
        return int(np.trace(self.counts)) / self.total

    def f1(self, average: Average) -> float:
        """scikit-learn's F1 over the labels that occur as gold or predicted; 0 for a label that is never right.

        Args:
            average: binary: of the label 1; macro: the labels' mean; micro: over all decisions; weighted: the mean
                weighted by how many pairs have the label as gold.
        """
        right = np.diag(self.counts)
        gold, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        if average == "micro":
            return self.accuracy
        by_label = 2 * right / np.maximum(gold + predicted, 1)
        if average == "binary":
            return float(by_label[self.labels == 1].sum())
        if average == "macro":
            occurs = gold + predicted > 0
            return float(by_label[occurs].mean())
        return float(np.average(by_label, weights=gold))

    def resampled(self, rng: np.random.Generator) -> Confusion:
        """Counts of as many pairs drawn from these with replacement."""
        cells = self.counts.ravel()
        drawn = rng.multinomial(self.total, cells / self.total).reshape(self.counts.shape)
        return Confusion(self.labels, drawn)


def f1_averages(gold: np.ndarray) -> tuple[Average, ...]:
    """Which F1 are taken of gold labels: binary of two, else macro, micro and weighted.

    Raises:
        InputError: there is one distinct label alone.
    """
    distinct = len(np.unique(gold))
    if distinct < 2:
        raise InputError("there is one distinct label alone, and F1 needs two", "give pairs of both classes")
    return ("binary",) if distinct == 2 else ("macro", "micro", "weighted")


def f1_figures(confusion: Confusion, averages: Sequence[Average]) -> list[float]:
    """F1 by each average.

    Raises:
        InputError: a binary F1 is wanted, but more than two labels occur, or the label 1 does not.
    """
    if "binary" in averages and (len(confusion.labels) > 2 or 1 not in confusion.labels):
        raise InputError(
            f"gold and predicted labels are {confusion.labels.tolist()}, and binary F1 is that of 1 against one other",
            "use a model with two labels, or give pairs of three classes or more",
        )
    return [confusion.f1(average) for average in averages]
