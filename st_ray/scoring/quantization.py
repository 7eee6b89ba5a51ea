"""Embeddings in fewer bits: what the documentation of Sentence Transformers calls embedding quantization.

int8 and uint8 cut the range of each dimension into 255 steps and keep the number of the step; binary and ubinary keep
whether a value is above zero, eight dimensions to a byte, the first one in the highest bit.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_DTYPES: Mapping[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "binary": np.dtype(np.int8),
    "ubinary": np.dtype(np.uint8),
}
PRECISIONS = tuple(_DTYPES)
"""The precisions that `quantize_embeddings` knows."""

_STEADY_ROWS = 100
"""From so many embeddings on, ranges are taken from them without a warning."""


def quantize_embeddings(
    embeddings: Any, precision: str, ranges: Any = None, calibration_embeddings: Any = None
) -> np.ndarray | list[np.ndarray]:
    """`embeddings` in `precision`, with `packed_dimension` columns of `precision_dtype`.

    The ranges of int8 and uint8 are `ranges`, else those of `calibration_embeddings`, else those of the embeddings
    themselves, which only a large and representative set should be asked for. Values out of range go to its ends.

    Args:
        embeddings: `[d]` or `[..., d]` of float32, float64, float16 or bfloat16: an array, a tensor, a list of
            vectors; or a list of matrices `[tokens, d]` with any number of rows, which share their ranges.
        precision: one of `PRECISIONS`.
        ranges: `[2, d]`, the smallest and the largest value by dimension; see `quantization_ranges`.
        calibration_embeddings: `[n, d]`.

    Returns:
        An array of the shape of `embeddings` but for the last dimension; a list of them for a list of matrices; an
        empty list for an empty list.

    Raises:
        ValueError: the precision is unknown; the embeddings are int8 or uint8 already, or ragged; ranges would have
            to come from a single embedding; the ranges do not fit the embeddings.
    """
    dtype = precision_dtype(precision)
    if isinstance(embeddings, (list, tuple)) and not embeddings:
        return []
    matrices = _matrices(embeddings)
    arrays = [_checked(array) for array in (matrices or [_to_array(embeddings)])]
    limits = None
    if precision in ("int8", "uint8"):
        limits = _ranges(arrays, precision, ranges, calibration_embeddings)
    quantized = [_quantize(array, precision, dtype, limits) for array in arrays]
    return quantized if matrices else quantized[0]


def quantization_ranges(calibration: Any) -> np.ndarray:
    """The smallest and the largest value of each dimension, float32 `[2, d]`.

    Ranges of parts of a corpus merge: the smaller of the first rows, the larger of the second rows.

    Args:
        calibration: `[n, d]` with at least one row: an array, a tensor or a list of vectors.

    Raises:
        ValueError: another shape.
    """
    array = _to_array(calibration)
    if array.ndim != 2 or not len(array):
        raise ValueError(f"ranges need embeddings of shape [n, d] with at least one row, found {array.shape}")
    return np.stack([array.min(axis=0), array.max(axis=0)]).astype(np.float32)


def dequantize_embeddings(codes: np.ndarray, precision: str, ranges: Any = None) -> np.ndarray:
    """The floats that quantized embeddings stand for, float32 `[n, columns]`: the inverse of `quantize_embeddings`.

    int8 and uint8 give the lower end of their step. Bits become 0 and 1, whole bytes of them, so that `columns` is a
    multiple of eight.

    Args:
        codes: `[n, packed_dimension]` as `quantize_embeddings` makes them.
        precision: that they were made with.
        ranges: `[2, d]` that int8 and uint8 were made with.

    Raises:
        ValueError: the precision is unknown, or its ranges are missing.
    """
    precision_dtype(precision)
    if precision in ("binary", "ubinary"):
        return np.unpackbits(as_bits(codes), axis=-1).astype(np.float32)
    if precision not in ("int8", "uint8"):
        return codes.astype(np.float32, copy=False)
    if ranges is None:
        raise ValueError(f"{precision} embeddings mean nothing without the ranges that they were made with")
    low, high = _to_array(ranges).astype(np.float32)
    steps = (high - low) / np.float32(255)
    numbers = codes.astype(np.float32)
    if precision == "int8":
        numbers += 128
    numbers *= np.where(steps == 0, np.float32(1), steps)
    numbers += low
    return numbers


def as_bits(codes: np.ndarray) -> np.ndarray:
    """uint8 with the first dimension in the highest bit, of binary or ubinary."""
    return codes if codes.dtype == np.uint8 else codes.view(np.uint8) ^ 0x80


def packed_dimension(dimension: int, precision: str) -> int:
    """How many columns embeddings of `dimension` have in `precision`: an eighth, rounded up, for binary and ubinary.

    Raises:
        ValueError: the precision is unknown.
    """
    precision_dtype(precision)
    return (dimension + 7) // 8 if precision in ("binary", "ubinary") else dimension


def precision_dtype(precision: str) -> np.dtype:
    """The dtype of embeddings in `precision`.

    Raises:
        ValueError: the precision is unknown.
    """
    if precision not in _DTYPES:
        raise ValueError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    return _DTYPES[precision]


def _quantize(array: np.ndarray, precision: str, dtype: np.dtype, ranges: np.ndarray | None) -> np.ndarray:
    if not array.size:
        return np.zeros((*array.shape[:-1], packed_dimension(array.shape[-1], precision)), dtype)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(array > 0, axis=-1)
        # The same as to subtract 128: the highest bit becomes the sign.
        return bits if precision == "ubinary" else (bits ^ 0x80).view(np.int8)
    if ranges is None:
        return array.astype(dtype)
    steps = (ranges[1] - ranges[0]) / 255
    numbers = array - ranges[0]
    numbers /= np.where(steps == 0, np.float32(1), steps)
    np.clip(np.floor(numbers, out=numbers), 0, 255, out=numbers)
    if precision == "int8":
        numbers -= 128
    return numbers.astype(dtype)


def _ranges(arrays: list[np.ndarray], precision: str, ranges: Any, calibration: Any) -> np.ndarray | None:
    """float32 `[2, d]`; None if nothing is there to quantize."""
    if ranges is None and calibration is None:
        ranges = _inferred_ranges(arrays, precision)
        if ranges is None:
            return None
    elif ranges is None:
        ranges = quantization_ranges(calibration)
    ranges = _to_array(ranges).astype(np.float32, copy=False)
    for array in arrays:
        if ranges.shape != (2, array.shape[-1]):
            raise ValueError(
                f"ranges must be of shape [2, d], the smallest and the largest value by dimension; "
                f"found {ranges.shape} for embeddings of shape {array.shape}"
            )
    return ranges


def _inferred_ranges(arrays: list[np.ndarray], precision: str) -> np.ndarray | None:
    dimensions = {array.shape[-1] for array in arrays}
    if len(dimensions) > 1:
        raise ValueError(f"matrices that share their ranges must have as many columns, found {sorted(dimensions)}")
    by_rows = [array.reshape(math.prod(array.shape[:-1]), array.shape[-1]) for array in arrays]
    count = sum(map(len, by_rows))
    if count == 0:
        return None
    if count == 1:
        raise ValueError(
            f"the ranges of {precision} cannot be taken from a single embedding; "
            "pass ranges, or calibration_embeddings of a representative set"
        )
    if count < _STEADY_ROWS:
        logging.getLogger(__name__).warning(
            "the ranges of %s are taken from %d embeddings only; pass ranges or calibration_embeddings of more",
            precision,
            count,
        )
    return quantization_ranges(np.concatenate([quantization_ranges(rows) for rows in by_rows if len(rows)]))


def _matrices(embeddings: Any) -> list[np.ndarray]:
    """The arrays of a list of matrices `[tokens, d]`; [] for anything else."""
    if not isinstance(embeddings, (list, tuple)) or any(getattr(item, "ndim", None) != 2 for item in embeddings):
        return []
    return [_to_array(item) for item in embeddings]


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype in (np.int8, np.uint8):
        raise ValueError(f"the embeddings are {array.dtype}, so quantized already; pass the floating-point ones")
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise ValueError(f"expected embeddings of shape [n, d], found {array.dtype} of shape {array.shape}")
    return array


def _to_array(values: Any) -> np.ndarray:
    if isinstance(values, (list, tuple)):
        return _stacked(values)
    if not hasattr(values, "detach"):
        return np.asarray(values)
    tensor = values.detach().cpu().to_dense()
    try:
        return tensor.numpy()
    except TypeError:  # bfloat16 and shorter: numpy has no such type
        return tensor.float().numpy()


def _stacked(values: Sequence[Any]) -> np.ndarray:
    try:
        return np.array([_to_array(value) if hasattr(value, "detach") else value for value in values])
    except ValueError as error:
        raise ValueError(f"a list of embeddings must hold vectors of one length: {error}") from error
