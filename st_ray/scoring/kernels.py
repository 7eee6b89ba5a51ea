"""How pairs are scored: fast and roughly for all of them, precisely for a few, and how far the two can be apart.

A scan value is what a matrix product gives; it orders the rows for one query as their scores do, but for rounding.
Products may be computed coarsely, in bfloat16 with sums in float32: then what rounding the vectors took from them is
measured, and the Cauchy-Schwarz inequality bounds what that does to a product. For sums in float32, the bounds are
those of Higham, Accuracy and Stability of Numerical Algorithms, 3.1, with some room for the roundings that come before
and after.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from st_ray.core.environment import cpu_has_bfloat16
from st_ray.scoring.similarity import Similarity

_U = 2.0**-24
"""Unit roundoff of float32."""
_SAFE = (2.0**-50, 2.0**50)
"""Lengths between which squares of the entries that matter stay within the range of float32."""
_COARSE_ULP = 2.0**-7
"""Distance of neighbouring numbers in bfloat16, relative to them, at most."""


@dataclass(frozen=True)
class Side:
    """Queries or corpus rows, ready to be scanned.

    Attributes:
        vectors: float32 `[n, d]`, of length 1 for cosine.
        lengths: float64 `[n]`, as precise as float32, of the rows as they were; sums of absolute values for manhattan.
        coarse: `vectors` in bfloat16, where products are to be coarse.
        lost: float64 `[n]`, the lengths of the differences between the two.
    """

    vectors: Tensor
    lengths: Tensor
    coarse: Tensor | None = None
    lost: Tensor | None = None

    def __getitem__(self, rows: slice) -> Side:
        coarse = None if self.coarse is None else self.coarse[rows]
        return Side(self.vectors[rows], self.lengths[rows], coarse, None if self.lost is None else self.lost[rows])

    def fine(self) -> Side:
        """Without the coarse vectors, so that products with these are in float32."""
        return Side(self.vectors, self.lengths)


@dataclass(frozen=True)
class Kernel:
    """One similarity, in the two ways.

    Attributes:
        prepare: any real `[n, d]`, and whether products may be coarse -> a `Side`.
        scan: queries `[q]`, rows `[n]`, a float32 buffer `[q, n]` or None -> scan values, float32 `[q, n]`.
        exact: pairs of rows, `[m, d]` each, and the squared lengths of the first ones, float64 `[m]` -> scores float32
            `[m]`, each of which depends on its own pair alone.
        to_scan: queries and a score each, float32 `[q]` -> the scan values that these would have, float64 `[q]`.
        error: queries and rows -> how far a scan value, or what `to_scan` makes of an exact score, can be from the
            truth: float64 `[q]`. The rounding of a coarse value itself is not in it; see `rounded`.
    """

    prepare: Callable[[Tensor, bool], Side]
    scan: Callable[[Side, Side, Tensor | None], Tensor]
    exact: Callable[[Tensor, Tensor, Tensor], Tensor]
    to_scan: Callable[[Side, Tensor], Tensor]
    error: Callable[[Side, Side], Tensor]


def kernel_of(similarity: Similarity) -> Kernel:
    """The kernel of one of the four similarities."""
    return _KERNELS[similarity.name]


@contextlib.contextmanager
def strict_products() -> Iterator[None]:
    """Products as precise as the bounds take them to be, whatever the process has allowed torch to do."""
    cuda = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cuda.allow_bf16_reduced_precision_reduction = before[1]


def coarse_is_faster(vectors: Tensor) -> bool:
    """Whether the hardware that `vectors` are on multiplies matrices faster in bfloat16 than in float32."""
    return torch.cuda.is_bf16_supported(False) if vectors.is_cuda else cpu_has_bfloat16()


def rounded(values: Tensor, coarse: bool) -> Tensor:
    """float64 values as scan values are rounded: what was below another one is not above it afterwards."""
    return values.to(torch.bfloat16).float() if coarse else values.float()


def spacing(values: Tensor, coarse: bool) -> Tensor:
    """How far scan values can be from what they were before they were rounded."""
    return values.abs() * (_COARSE_ULP / 2) if coarse else torch.zeros_like(values)


def _prepare(rows: Tensor, coarse: bool) -> Side:
    vectors = rows.to(torch.float32)
    return _with_coarse(Side(vectors, torch.linalg.vector_norm(vectors, dim=1).double()), coarse)


def _prepare_cosine(rows: Tensor, coarse: bool) -> Side:
    side = _prepare(rows, False)
    if len(rows) and (side.lengths - 1).abs().max() > 4 * _U:
        vectors, lengths = side.vectors, side.lengths
        scales = torch.ones_like(lengths)
        if not _all_safe(lengths):
            tamed, scales = _tamed(rows)
            vectors = tamed.to(torch.float32)
            lengths = torch.linalg.vector_norm(vectors, dim=1).double()
        inverse = torch.where(lengths > 0, 1 / lengths, 0.0).to(torch.float32)
        side = Side(vectors * inverse[:, None], lengths * scales)
    return _with_coarse(side, coarse)


def _prepare_euclidean(rows: Tensor, coarse: bool) -> Side:
    return _prepare(rows, False)


def _prepare_manhattan(rows: Tensor, coarse: bool) -> Side:
    vectors = rows.to(torch.float32)
    return Side(vectors, torch.linalg.vector_norm(vectors, ord=1, dim=1).double())


def _with_coarse(side: Side, wanted: bool) -> Side:
    if not wanted:
        return side
    short = side.vectors.to(torch.bfloat16)
    lost = torch.linalg.vector_norm(side.vectors - short, dim=1).double()
    return Side(side.vectors, side.lengths, short, lost)


def _scan_products(queries: Side, rows: Side, out: Tensor | None) -> Tensor:
    if queries.coarse is None or rows.coarse is None:
        return torch.mm(queries.vectors, rows.vectors.t(), out=out)
    values = torch.mm(queries.coarse, rows.coarse.t())
    return values.float() if out is None else out.copy_(values)


def _scan_euclidean(queries: Side, rows: Side, out: Tensor | None) -> Tensor:
    """2 q.c - |c|^2, which is |q|^2 less the squared distance."""
    return torch.addmm(-rows.lengths.square().float()[None], queries.vectors, rows.vectors.t(), alpha=2, out=out)


def _scan_manhattan(queries: Side, rows: Side, out: Tensor | None) -> Tensor:
    distances = torch.cdist(queries.vectors, rows.vectors, p=1.0)
    return torch.neg(distances, out=distances if out is None else out)


def squares(rows: Tensor) -> Tensor:
    """The squared lengths of rows, float64 `[n]`."""
    return _dots(rows, rows)


def _dots(one: Tensor, other: Tensor) -> Tensor:
    """float64 `[m]`; summed so finely that the order of the sum does not show in float32."""
    return (one * other).sum(dim=1, dtype=torch.float64)


def _exact_cosine(queries: Tensor, rows: Tensor, query_squares: Tensor) -> Tensor:
    row_squares = squares(rows)
    if not (_all_safe(query_squares.sqrt()) and _all_safe(row_squares.sqrt())):
        queries, rows = (_tamed(side)[0].to(side.dtype) for side in (queries, rows))
        query_squares, row_squares = squares(queries), squares(rows)
    lengths = (query_squares * row_squares).sqrt()
    return torch.where(lengths > 0, _dots(queries, rows) / lengths, 0.0).float()


def _all_safe(lengths: Tensor) -> bool:
    return not len(lengths) or bool(_SAFE[0] < lengths.min() <= lengths.max() < _SAFE[1])


def _tamed(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows divided by powers of two, float64 `[n]`, so that the greatest entry of each lies between 1/2 and 1."""
    wide = rows.double()
    _, exponents = torch.frexp(torch.linalg.vector_norm(wide, ord=torch.inf, dim=1))
    scales = torch.ldexp(torch.ones_like(wide[:, 0]), exponents)
    return wide / scales[:, None], scales


def _exact_dot(queries: Tensor, rows: Tensor, query_squares: Tensor) -> Tensor:
    return _dots(queries, rows).float()


def _exact_euclidean(queries: Tensor, rows: Tensor, query_squares: Tensor) -> Tensor:
    difference = queries - rows
    return -_dots(difference, difference).sqrt().float()


def _exact_manhattan(queries: Tensor, rows: Tensor, query_squares: Tensor) -> Tensor:
    return -(queries - rows).abs().sum(dim=1, dtype=torch.float64).float()


def _same(queries: Side, scores: Tensor) -> Tensor:
    return scores.double()


def _to_scan_euclidean(queries: Side, scores: Tensor) -> Tensor:
    return queries.lengths.square() - scores.double().square()


def _error_cosine(queries: Side, rows: Side) -> Tensor:
    dimension = queries.vectors.shape[1]
    return torch.full_like(queries.lengths, (2 * dimension + 48) * _U) + _coarse_error(queries, rows, 1.0, 1.0)


def _error_dot(queries: Side, rows: Side) -> Tensor:
    longest = rows.lengths.max()
    rounding = (queries.vectors.shape[1] + 16) * _U * queries.lengths * longest
    return rounding + _coarse_error(queries, rows, queries.lengths, longest)


def _coarse_error(queries: Side, rows: Side, length: Tensor | float, longest: Tensor | float) -> Tensor | float:
    """|q.c - q'.c'| <= |q - q'| |c| + |q'| |c - c'|; |q'| is at most |q| + |q - q'|."""
    if queries.lost is None or rows.lost is None:
        return 0.0
    return queries.lost * longest + (length + queries.lost) * rows.lost.max()


def _error_euclidean(queries: Side, rows: Side) -> Tensor:
    # Products, the squares of both lengths, and the rounding of an exact distance.
    return 2 * (queries.vectors.shape[1] + 16) * _U * (queries.lengths + rows.lengths.max()).square()


def _error_manhattan(queries: Side, rows: Side) -> Tensor:
    return (queries.vectors.shape[1] + 16) * _U * (queries.lengths + rows.lengths.max())


_KERNELS = {
    "cosine": Kernel(_prepare_cosine, _scan_products, _exact_cosine, _same, _error_cosine),
    "dot": Kernel(_prepare, _scan_products, _exact_dot, _same, _error_dot),
    "euclidean": Kernel(_prepare_euclidean, _scan_euclidean, _exact_euclidean, _to_scan_euclidean, _error_euclidean),
    "manhattan": Kernel(_prepare_manhattan, _scan_manhattan, _exact_manhattan, _same, _error_manhattan),
}
