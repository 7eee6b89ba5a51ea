"""Ray tasks that hand rows on in buckets, through the object store: nothing of them passes through the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ray


def grouped_by_rows(items: Sequence[Any], rows: Sequence[int], most: int) -> list[list[Any]]:
    """Consecutive items of at most `most` rows together; one that has more stands alone."""
    groups: list[list[Any]] = []
    filled = 0
    for item, count in zip(items, rows, strict=True):
        if not groups or filled + count > most:
            groups.append([])
            filled = 0
        groups[-1].append(item)
        filled += count
    return groups


def spread(
    task: Callable[..., Sequence[Any]], calls: Iterable[Sequence[Any]], count: int, **options: Any
) -> list[list[Any]]:
    """Run `task` with the arguments of each call, as Ray tasks; the references to the `count` values of each.

    References among the arguments become what they stand for.
    """
    remote = ray.remote(_pieces).options(num_returns=count, **options)
    refs = [remote.remote(task, count, *call) for call in calls]
    return [[ref] for ref in refs] if count == 1 else [list(pieces) for pieces in refs]


def _pieces(task: Callable[..., Sequence[Any]], count: int, *call: Any) -> Any:
    pieces = task(*call)
    return pieces[0] if count == 1 else tuple(pieces)
