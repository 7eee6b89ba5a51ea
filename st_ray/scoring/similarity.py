"""How alike embeddings are: matrices of scores, scores of pairs, and the four measures by name.

Higher is better everywhere: distances come negated. The functions take lists, arrays and tensors, stay on the device
of the tensors, let gradients through, and have the meaning that the documentation of Sentence Transformers' `util`
gives them. Results are float32, or float64 if one side is; shorter floats are widened before anything is summed.
Sparse tensors are computed with in float32 and give dense results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from st_ray.core.errors import ConfigError
from st_ray.scoring.tensors import as_matrices, as_pairs, normalize_embeddings

Embeddings: TypeAlias = list[Any] | np.ndarray | Tensor
ScoreFunction: TypeAlias = Callable[[Any, Any], Tensor]
"""From `[n, d]` and `[m, d]` to scores `[n, m]`."""

_TEMPORARY_BYTES = 64 << 20
"""Room for what a distance matrix needs beside its inputs and itself."""


def cos_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Cosines `[n, m]` of all rows of `a` `[n, d]` with all rows of `b` `[m, d]`; 0 where a row is all zeros.

    A vector `[d]` counts as one row. Integers are read as float32.

    Raises:
        TypeError: a side is no list, array or tensor of real numbers.
        ValueError: the shapes do not fit; the message names them.
    """
    first, second = as_matrices(a, b, floating=True)
    return _products(normalize_embeddings(first), normalize_embeddings(second))


def dot_score(a: Embeddings, b: Embeddings) -> Tensor:
    """Dot products `[n, m]` of all rows of `a` `[n, d]` with all rows of `b` `[m, d]`; int64 between integers.

    A vector `[d]` counts as one row. Raises what `cos_sim` raises.
    """
    return _products(*as_matrices(a, b, floating=False))


def euclidean_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Negated Euclidean distances `[n, m]` of all rows of `a` `[n, d]` to all rows of `b` `[m, d]`.

    Beside the result, about 64 MiB are used, however long the inputs are. Where a side has more than 25 rows, the
    distances come from dot products, so that those of near-equal vectors are as rough as the square root of rounding.
    A vector `[d]` counts as one row. Raises what `cos_sim` raises.
    """
    first, second = as_matrices(a, b, floating=True)
    if first.is_sparse or second.is_sparse:
        return _sparse_euclidean(first, second)
    return _negated_distances(first, second, p=2.0)


def manhattan_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Negated sums of absolute differences `[n, m]` of all rows of `a` `[n, d]` to all rows of `b` `[m, d]`.

    Beside the result, about 64 MiB are used, however long the inputs are. A vector `[d]` counts as one row.

    Raises:
        TypeError: as for `cos_sim`; also sparse tensors that require gradients.
        ValueError: the shapes do not fit; the message names them.
    """
    first, second = as_matrices(a, b, floating=True)
    if first.is_sparse or second.is_sparse:
        return _sparse_manhattan(first, second)
    return _negated_distances(first, second, p=1.0)


def pairwise_cos_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Cosines `[n]` of each row of `a` `[n, d]` with the same row of `b` `[n, d]`; of two vectors `[d]`, a number.

    A single row or vector pairs with all rows of the other side. Integers are read as float32.

    Raises:
        TypeError: a side is no list, array or tensor of real numbers.
        ValueError: the shapes do not fit; the message names them.
    """
    first, second = as_pairs(a, b, floating=True)
    return _row_sums(normalize_embeddings(first) * normalize_embeddings(second))


def pairwise_dot_score(a: Embeddings, b: Embeddings) -> Tensor:
    """Dot products `[n]` of the rows of `a` and `b`, both `[n, d]`; int64 between integers.

    Pairs up and raises like `pairwise_cos_sim`.
    """
    first, second = as_pairs(a, b, floating=False)
    return _row_sums(first * second)


def pairwise_euclidean_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Negated Euclidean distances `[n]` of the rows of `a` and `b`, both `[n, d]`; float32 between integers.

    Pairs up and raises like `pairwise_cos_sim`.
    """
    first, second = as_pairs(a, b, floating=False)
    difference = first - second
    if difference.is_sparse or not difference.is_floating_point():
        return -_row_sums(difference.square()).sqrt()
    return -torch.linalg.vector_norm(difference, dim=-1)


def pairwise_manhattan_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Negated sums of absolute differences `[n]` of the rows of `a` and `b`, both `[n, d]`; int64 between integers.

    Pairs up and raises like `pairwise_cos_sim`.
    """
    first, second = as_pairs(a, b, floating=False)
    return -_row_sums((first - second).abs())


def pairwise_angle_sim(x: Embeddings, y: Embeddings) -> Tensor:
    """AnglE similarity `[n]` of the rows of `x` and `y`, both `[n, d]`: from 0 up to the square root of 2.

    The two halves of a vector are read as the real and the imaginary parts of `d / 2` complex numbers (AnglE,
    arXiv:2309.12871); an odd `d` gets a zero at the end. With the inner product of the normalized complex vectors,
    this is |real part + imaginary part|.

    Pairs up and raises like `pairwise_cos_sim`.
    """
    first, second = (side.to_dense() for side in as_pairs(x, y, floating=True))
    if first.shape[-1] % 2:
        first, second = F.pad(first, (0, 1)), F.pad(second, (0, 1))
    first, second = normalize_embeddings(first), normalize_embeddings(second)
    half = first.shape[-1] // 2
    cosine = (first * second).sum(dim=-1)
    sine = (first[..., half:] * second[..., :half] - first[..., :half] * second[..., half:]).sum(dim=-1)
    return (cosine + sine).abs()


@dataclass(frozen=True)
class Similarity:
    """One of the measures that a model can name. Higher is better for all four of them.

    Attributes:
        name: `cosine`, `dot`, `euclidean` or `manhattan`.
        score: the function from `[n, d]` and `[m, d]` to `[n, m]`.
        pairwise: the function from `[n, d]` and `[n, d]` to `[n]`.
        normalized: whether it is the dot product of normalized vectors.
    """

    name: str
    score: ScoreFunction
    pairwise: Callable[[Any, Any], Tensor]
    normalized: bool = False


_SIMILARITIES: Mapping[str, Similarity] = {
    similarity.name: similarity
    for similarity in (
        Similarity("cosine", cos_sim, pairwise_cos_sim, normalized=True),
        Similarity("dot", dot_score, pairwise_dot_score),
        Similarity("euclidean", euclidean_sim, pairwise_euclidean_sim),
        Similarity("manhattan", manhattan_sim, pairwise_manhattan_sim),
    )
}


def similarity_of(name: str) -> Similarity:
    """The similarity that is called `name`.

    Raises:
        ConfigError: there is none; the remedy lists those that are.
    """
    if name not in _SIMILARITIES:
        raise ConfigError(f"unknown similarity {name!r}", f"use one of {', '.join(_SIMILARITIES)}")
    return _SIMILARITIES[name]


def similarity_by(score: ScoreFunction) -> Similarity | None:
    """The similarity whose function this is; None for a function of somebody's own."""
    return next((known for known in _SIMILARITIES.values() if known.score is score), None)


def _products(a: Tensor, b: Tensor) -> Tensor:
    return torch.mm(a, b.t()).to_dense()


def _row_sums(tensor: Tensor) -> Tensor:
    """Sums over the last dimension; unlike `Tensor.sum`, with a gradient for sparse tensors too."""
    return torch.sparse.sum(tensor, dim=-1).to_dense() if tensor.is_sparse else tensor.sum(dim=-1)


def _negated_distances(a: Tensor, b: Tensor, p: float) -> Tensor:
    """`-torch.cdist(a, b, p)` in tiles, since it copies its inputs, and the negation its result."""
    differentiable = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    rows, columns = _tile(a, b, p, differentiable)
    # Decided once, so that the method does not change in the small tiles at the border.
    by_products = p == 2.0 and max(len(a), len(b)) > 25
    mode = "use_mm_for_euclid_dist" if by_products else "donot_use_mm_for_euclid_dist"

    def tile(row: int, column: int) -> Tensor:
        return torch.cdist(a[row : row + rows], b[column : column + columns], p=p, compute_mode=mode)

    if len(a) <= rows and len(b) <= columns:
        return -tile(0, 0) if differentiable else tile(0, 0).neg_()
    if differentiable:
        strips = ([-tile(row, column) for column in range(0, len(b), columns)] for row in range(0, len(a), rows))
        return torch.cat([torch.cat(strip, dim=1) for strip in strips])
    scores = a.new_empty(len(a), len(b))
    for row in range(0, len(a), rows):
        for column in range(0, len(b), columns):
            torch.neg(tile(row, column), out=scores[row : row + rows, column : column + columns])
    return scores


def _tile(a: Tensor, b: Tensor, p: float, differentiable: bool) -> tuple[int, int]:
    """Rows of `a` and of `b` whose distances keep within the room for temporary values."""
    room, dimension = _TEMPORARY_BYTES // a.element_size(), max(1, a.shape[1])
    if p == 1.0 and differentiable:
        # On an accelerator, the gradient takes as much as all differences: [rows, columns, dimension].
        rows = max(1, min(len(a), math.isqrt(room // dimension)))
        return rows, max(1, room // (rows * dimension))
    # One half for the tile's distances, the other for up to four copies of one side.
    side = max(1, min(math.isqrt(room // 2), room // 2 // (4 * (dimension + 1))))
    return side, side


def _sparse_euclidean(a: Tensor, b: Tensor) -> Tensor:
    distances = _row_sums(a * a)[:, None] - 2 * _products(a, b) + _row_sums(b * b)[None, :]
    return -distances.clamp(min=0).sqrt()


def _sparse_manhattan(a: Tensor, b: Tensor) -> Tensor:
    """float32 `[n, m]` by scikit-learn, which never makes the rows dense; it knows no gradients."""
    if a.requires_grad or b.requires_grad:
        raise TypeError("manhattan_sim has no gradient for sparse tensors; pass them as .to_dense()")
    from sklearn.metrics.pairwise import manhattan_distances

    scores = torch.zeros(len(a), len(b), dtype=torch.float32)
    if scores.numel() and a.shape[1]:
        first, second = _to_csr(a), _to_csr(b)
        rows = max(1, _TEMPORARY_BYTES // (8 * len(b)))
        for row in range(0, len(a), rows):
            scores[row : row + rows] = torch.from_numpy(-manhattan_distances(first[row : row + rows], second))
    return scores.to(a.device)


def _to_csr(matrix: Tensor) -> Any:
    from scipy.sparse import coo_matrix

    matrix = matrix.to_sparse().coalesce().cpu()
    return coo_matrix((matrix.values().numpy(), matrix.indices().numpy()), shape=tuple(matrix.shape)).tocsr()
