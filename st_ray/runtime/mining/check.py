"""Before any work: rows of a store that cannot be compared, by id and number."""

from __future__ import annotations

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.shuffle import spread
from st_ray.scoring.vectors import StoredVectors

_FAULTS = ("is not finite", "is all zeros, which has no cosine")
_ROWS = 1 << 18
"""That one task looks at."""


def row_ranges(rows: int, most: int) -> list[tuple[int, int]]:
    """First row and the one after the last of runs of `most` rows; the last one may be shorter."""
    return [(first, min(first + most, rows)) for first in range(0, rows, most)]


def check_rows(store: StoredVectors, *, cosine: bool) -> None:
    """Raise InputError for rows that are not finite or, where a `cosine` is wanted, all zeros; the first is named."""
    calls = [(store, *rows) for rows in row_ranges(store.rows, _ROWS)]
    found = [result_of(ref) for (ref,) in spread(count_faults, calls, 1)]
    for number, fault in enumerate(_FAULTS[: 1 + cosine]):
        count = sum(int(counted[number, 0]) for counted in found)
        if count:
            first = min(int(counted[number, 1]) for counted in found)
            identity = store.ids(first, first + 1)[0].as_py()
            raise InputError(
                f"{store.folder}: the embedding of {identity!r} {fault} (such rows: {count:,})",
                "mend or leave out their texts, and encode them again",
            )


def count_faults(store: StoredVectors, first: int, last: int) -> list[np.ndarray]:
    """How many of the rows are not finite, and all zeros, and the position of the first one: int64 `[2, 2]`.

    Memory: a row group. Raises InputError where a part of the store is missing or damaged.
    """
    found = np.array([[0, store.rows]] * len(_FAULTS))
    for position, rows in store.blocks(first, last):
        floats = store.floats(rows)
        finite = np.isfinite(floats).all(axis=1)
        for fault, bad in enumerate((~finite, ~floats.any(axis=1))):
            if bad.any():
                found[fault, 0] += bad.sum()
                found[fault, 1] = min(found[fault, 1], position + bad.argmax())
    return [found]
