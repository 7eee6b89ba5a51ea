"""Embeddings as users hand them over (lists, arrays, tensors) as tensors that can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def normalize_embeddings(embeddings: Tensor) -> Tensor:
    """Each vector (last dimension) divided by its Euclidean length; a vector of zeros stays zeros.

    Dense tensors keep their dtype, sparse ones come back as float32 in COO layout; integers become float32. Lists
    and arrays are read like in the similarity functions. As in the documentation of Sentence Transformers' `util`.

    Args:
        embeddings: `[d]`, `[n, d]` or with more leading dimensions; sparse ones `[d]` or `[n, d]`.

    Raises:
        TypeError: this is no list, array or tensor of real numbers.
        ValueError: a ragged list, or a single number.
    """
    tensor = to_tensor(embeddings)
    _check_real(tensor)
    if tensor.dim() == 0:
        raise ValueError("cannot normalize a single number; expected a vector [d] or a matrix [n, d]")
    if tensor.is_sparse:
        return _normalize_rows(tensor[None])[0] if tensor.dim() == 1 else _normalize_rows(tensor)
    return F.normalize(tensor if tensor.is_floating_point() else tensor.float(), dim=-1)


def truncate_embeddings(embeddings: np.ndarray | Tensor, truncate_dim: int | None) -> np.ndarray | Tensor:
    """The first `truncate_dim` columns (all of them for None, or where there are fewer), as a view.

    Meant for models trained with Matryoshka representation learning (arXiv:2205.13147).

    Args:
        embeddings: an array or a dense tensor, `[..., d]`.

    Raises:
        TypeError: this is no array or dense tensor.
        ValueError: `truncate_dim` is below 1.
    """
    if not isinstance(embeddings, np.ndarray) and not (isinstance(embeddings, Tensor) and is_dense(embeddings)):
        raise TypeError(f"expected an array or a dense tensor to truncate, not {_describe(embeddings)}")
    if truncate_dim is not None and truncate_dim < 1:
        raise ValueError(f"truncate_dim must be 1 or more, or None for all dimensions, not {truncate_dim}")
    return embeddings[..., :truncate_dim]


def to_tensor(values: Any) -> Tensor:
    """`values` as a tensor that may share their memory, so that nobody may write to it.

    A list or tuple is stacked: of numbers, of lists, or of arrays and tensors of one shape. The dtype stays, but for
    sparse tensors of any layout, which become float32 in COO layout.

    Raises:
        TypeError: no list, array or tensor, or an array of something else than numbers.
        ValueError: a list whose members differ in shape, or are no numbers.
    """
    if isinstance(values, Tensor):
        return values if is_dense(values) else values.to_sparse_coo().to(torch.float32)
    if isinstance(values, np.ndarray):
        return _from_array(values)
    if isinstance(values, (list, tuple)):
        return _from_sequence(values)
    raise TypeError(f"expected a list, an array or a tensor of embeddings, not {_describe(values)}")


def as_matrices(a: Any, b: Any, *, floating: bool) -> tuple[Tensor, Tensor]:
    """Both sides as `[n, d]` and `[m, d]` of one dtype; a vector `[d]` is one row.

    The dtype is float32 or float64: shorter floats are widened, since sums of them round to ties. Integers become
    int64, or float32 if `floating` is asked for. Beside a sparse side, all is float32.

    Raises:
        TypeError: see `to_tensor`; also complex numbers.
        ValueError: other shapes; the message names them.
    """
    first, second = _of_one_dtype(a, b, floating)
    first = first[None] if first.dim() == 1 else first
    second = second[None] if second.dim() == 1 else second
    if not (first.dim() == second.dim() == 2 and first.shape[1] == second.shape[1]):
        raise ValueError(
            f"cannot compare embeddings of shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            "expected [n, d] and [m, d], or vectors [d]"
        )
    return first, second


def as_pairs(a: Any, b: Any, *, floating: bool) -> tuple[Tensor, Tensor]:
    """Both sides as tensors of one dtype (see `as_matrices`) whose vectors pair up; both sparse, or both dense.

    Raises:
        TypeError: see `as_matrices`.
        ValueError: vectors of different lengths, or different numbers of them (one pairs with all).
    """
    first, second = _of_one_dtype(a, b, floating)
    if not _pair_up(first, second):
        raise ValueError(
            f"cannot pair embeddings of shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            "expected the same number of vectors of the same dimension"
        )
    if first.is_sparse != second.is_sparse:
        return (first, second.to_sparse()) if first.is_sparse else (first.to_sparse(), second)
    return first, second


def is_dense(tensor: Tensor) -> bool:
    """Whether `tensor` has the ordinary layout."""
    return tensor.layout == torch.strided


def _from_array(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fiub" and not np.issubdtype(array.dtype, np.complexfloating):
        raise TypeError(f"expected an array of numbers, not of {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # torch neither looks at memory backwards nor promises to leave it unwritten.
    if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
        array = array.copy()
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise TypeError(f"torch knows no numbers of type {array.dtype}; cast them to float32 or float64") from error


def _from_sequence(values: list[Any] | tuple[Any, ...]) -> Tensor:
    if any(isinstance(value, (Tensor, np.ndarray)) for value in values):
        rows = [to_tensor(value) for value in values]
        shapes = {tuple(row.shape) for row in rows}
        if len(shapes) > 1:
            raise ValueError(f"a list of embeddings must hold vectors of one shape, found {sorted(shapes)[:4]}")
        return torch.stack(rows)
    try:
        return torch.tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"a list of embeddings must hold numbers, or vectors of one length: {error}") from error


def _of_one_dtype(a: Any, b: Any, floating: bool) -> tuple[Tensor, Tensor]:
    first, second = _widened(to_tensor(a), floating), _widened(to_tensor(b), floating)
    sparse = first.is_sparse or second.is_sparse
    dtype = torch.float32 if sparse else torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype)


def _widened(tensor: Tensor, floating: bool) -> Tensor:
    _check_real(tensor)
    if tensor.is_floating_point():
        return tensor if torch.finfo(tensor.dtype).bits >= 32 else tensor.float()
    return tensor.float() if floating else tensor.long()


def _check_real(tensor: Tensor) -> None:
    if tensor.is_complex():
        raise TypeError(f"embeddings must be real numbers, not {tensor.dtype}")


def _pair_up(first: Tensor, second: Tensor) -> bool:
    if first.dim() == 0 or second.dim() == 0 or first.shape[-1] != second.shape[-1]:
        return False
    if first.is_sparse or second.is_sparse:
        return first.shape == second.shape
    leading = zip(reversed(first.shape[:-1]), reversed(second.shape[:-1]), strict=False)
    return all(one == other or 1 in (one, other) for one, other in leading)


def _normalize_rows(matrix: Tensor) -> Tensor:
    """Sparse COO `[n, d]` with rows of unit length."""
    matrix = matrix.coalesce()
    rows, values = matrix.indices()[0], matrix.values()
    squares = values.new_zeros(matrix.shape[0]).index_add(0, rows, values.square())
    lengths = squares.where(squares > 0, 1.0).sqrt()
    return torch.sparse_coo_tensor(
        matrix.indices(), values / lengths[rows], matrix.shape, is_coalesced=True, check_invariants=False
    )


def _describe(values: Any) -> str:
    return f"a {values.layout} tensor" if isinstance(values, Tensor) else type(values).__name__
