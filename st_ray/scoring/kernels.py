"""How pairs are scored: fast and roughly for all of them, precisely for a few, and how far the two can be apart.

A scan value is what a matrix product gives; it orders the rows for one query as their scores do, but for rounding.
`u` below is the unit roundoff of float32; the bounds are those of Higham, Accuracy and Stability of Numerical
Algorithms, 3.1, with some room for the roundings that come before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from st_ray.scoring.similarity import Similarity

_U = 2.0**-24


@dataclass(frozen=True)
class Side:
    """Queries or corpus rows, ready to be scanned.

    Attributes:
        vectors: float32 `[n, d]`, of length 1 for cosine.
        lengths: float64 `[n]`, as precise as float32, of the rows as they were; sums of absolute values for manhattan.
    """

    vectors: Tensor
    lengths: Tensor

    def __getitem__(self, rows: slice) -> Side:
        return Side(self.vectors[rows], self.lengths[rows])


@dataclass(frozen=True)
class Kernel:
    """One similarity, in the two ways.

    Attributes:
        prepare: any real `[n, d]` -> a `Side`.
        scan: queries `[q]`, rows `[n]`, a float32 buffer `[q, n]` or None -> scan values, float32 `[q, n]`.
        exact: pairs of rows, `[m, d]` each -> scores float32 `[m]`, each of which depends on its own pair alone.
        to_scan: queries and a score each, float32 `[q]` -> the scan values that these would have, float64 `[q]`.
        error: queries and the greatest length among the rows -> how far a scan value, or what `to_scan` makes of an
            exact score, can be from the truth: float64 `[q]`.
    """

    prepare: Callable[[Tensor], Side]
    scan: Callable[[Side, Side, Tensor | None], Tensor]
    exact: Callable[[Tensor, Tensor], Tensor]
    to_scan: Callable[[Side, Tensor], Tensor]
    error: Callable[[Side, float], Tensor]


def kernel_of(similarity: Similarity) -> Kernel:
    """The kernel of one of the four similarities."""
    return _KERNELS[similarity.name]


def _prepare(rows: Tensor, power: int = 2) -> Side:
    vectors = rows.to(torch.float32)
    return Side(vectors, torch.linalg.vector_norm(vectors, ord=power, dim=1).double())


def _prepare_cosine(rows: Tensor) -> Side:
    side = _prepare(rows)
    inverse = torch.where(side.lengths > 0, 1 / side.lengths, 0.0).to(torch.float32)
    return Side(side.vectors * inverse[:, None], side.lengths)


def _prepare_manhattan(rows: Tensor) -> Side:
    return _prepare(rows, power=1)


def _scan_products(queries: Side, rows: Side, out: Tensor | None) -> Tensor:
    return torch.mm(queries.vectors, rows.vectors.t(), out=out)


def _scan_euclidean(queries: Side, rows: Side, out: Tensor | None) -> Tensor:
    """2 q.c - |c|^2, which is |q|^2 less the squared distance."""
    return torch.addmm(-rows.lengths.square().float()[None], queries.vectors, rows.vectors.t(), alpha=2, out=out)


def _scan_manhattan(queries: Side, rows: Side, out: Tensor | None) -> Tensor:
    distances = torch.cdist(queries.vectors, rows.vectors, p=1.0)
    return torch.neg(distances, out=distances if out is None else out)


def _dots(one: Tensor, other: Tensor) -> Tensor:
    """float64 `[m]`; summed so finely that the order of the sum does not show in float32."""
    return (one * other).sum(dim=1, dtype=torch.float64)


def _exact_cosine(queries: Tensor, rows: Tensor) -> Tensor:
    lengths = (_dots(queries, queries) * _dots(rows, rows)).sqrt()
    return torch.where(lengths > 0, _dots(queries, rows) / lengths, 0.0).float()


def _exact_dot(queries: Tensor, rows: Tensor) -> Tensor:
    return _dots(queries, rows).float()


def _exact_euclidean(queries: Tensor, rows: Tensor) -> Tensor:
    difference = queries - rows
    return -_dots(difference, difference).sqrt().float()


def _exact_manhattan(queries: Tensor, rows: Tensor) -> Tensor:
    return -(queries - rows).abs().sum(dim=1, dtype=torch.float64).float()


def _same(queries: Side, scores: Tensor) -> Tensor:
    return scores.double()


def _to_scan_euclidean(queries: Side, scores: Tensor) -> Tensor:
    return queries.lengths.square() - scores.double().square()


def _error_cosine(queries: Side, longest: float) -> Tensor:
    dimension = queries.vectors.shape[1]
    return torch.full_like(queries.lengths, (2 * dimension + 24) * _U)


def _error_dot(queries: Side, longest: float) -> Tensor:
    return (queries.vectors.shape[1] + 16) * _U * queries.lengths * longest


def _error_euclidean(queries: Side, longest: float) -> Tensor:
    # Products, the squares of both lengths, and the rounding of an exact distance.
    return 2 * (queries.vectors.shape[1] + 16) * _U * (queries.lengths + longest).square()


def _error_manhattan(queries: Side, longest: float) -> Tensor:
    return (queries.vectors.shape[1] + 16) * _U * (queries.lengths + longest)


_KERNELS = {
    "cosine": Kernel(_prepare_cosine, _scan_products, _exact_cosine, _same, _error_cosine),
    "dot": Kernel(_prepare, _scan_products, _exact_dot, _same, _error_dot),
    "euclidean": Kernel(_prepare, _scan_euclidean, _exact_euclidean, _to_scan_euclidean, _error_euclidean),
    "manhattan": Kernel(_prepare_manhattan, _scan_manhattan, _exact_manhattan, _same, _error_manhattan),
}
