"""What the tests of jobs whose rows name texts by id share: the cuts of the join, which must not show in any result."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from st_ray.runtime.texts_by_id import places, staged

STAGED = staged.__name__
"""The module whose stage copies the texts."""
JOIN_CUTS = st.fixed_dictionaries(
    {"text_shard_rows": st.integers(1, 16), "bucket_rows": st.integers(1, 40), "text_rows": st.integers(1, 40)}
)


@dataclass(frozen=True, kw_only=True)
class JoinCuts:
    """Rows of a shard of texts, of a bucket, and of a task that copies texts."""

    text_shard_rows: int = 20_000
    bucket_rows: int = 4_000_000
    text_rows: int = 500_000

    @contextmanager
    def set(self) -> Iterator[None]:
        with (
            mock.patch.object(staged, "TEXT_SHARD_ROWS", self.text_shard_rows),
            mock.patch.multiple(places, BUCKET_ROWS=self.bucket_rows, TEXT_ROWS=self.text_rows),
        ):
            yield


def cut(items: Sequence[Any], parts: int) -> list[Any]:
    """The items in so many parts of like size."""
    bounds = np.linspace(0, len(items), parts + 1).astype(int).tolist()
    return [items[first:last] for first, last in itertools.pairwise(bounds)]
