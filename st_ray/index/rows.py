"""Vectors on their way into an index, or to be searched for: checked, and of length 1 for cosine."""

from __future__ import annotations

import numpy as np

from st_ray.core.errors import InputError
from st_ray.index.spec import IndexSpec


def prepare_rows(spec: IndexSpec, rows: np.ndarray, name: str, numbers: np.ndarray | None = None) -> np.ndarray:
    """`rows` as faiss takes them: float32 `[n, d]`, of length 1 for cosine; uint8 `[n, columns]` for bits.

    A row of zeros stays one. What comes in is not changed.

    Args:
        name: of one row in errors, with its number.
        numbers: of the rows; unless given, from 0 on.

    Raises:
        InputError: another number of columns, bits that are not uint8, or a NaN or infinity.
    """
    numbers = np.arange(max(1, len(rows))) if numbers is None else numbers
    if rows.ndim != 2 or rows.shape[1] != spec.columns:
        unit = "bytes" if spec.binary else "dimensions"
        raise InputError(
            f"{name} {numbers[0]} and those after it have the shape {rows.shape}; the index has {spec.columns} {unit}",
            "use the same model, --truncate-dim and --precision for all of them",
        )
    if spec.binary:
        if rows.dtype != np.uint8:
            raise InputError(
                f"{name} {numbers[0]} is {rows.dtype}, not bits in uint8", "encode with --precision ubinary"
            )
        return np.ascontiguousarray(rows)
    floats = np.ascontiguousarray(rows, np.float32)
    finite = np.isfinite(floats).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{name} {numbers[int(np.argmin(finite))]} holds NaN or infinity, which has no neighbours",
            "encode it again, or leave it out",
        )
    if spec.similarity != "cosine":
        return floats
    lengths = np.sqrt(np.einsum("ij,ij->i", floats, floats, dtype=np.float64))
    return floats / np.where(lengths > 0, lengths, 1).astype(np.float32)[:, None]
