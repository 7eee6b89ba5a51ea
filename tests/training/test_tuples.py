"""Tuples as labelled pairs: every negative once and in order, positives as often as was asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from st_ray.training.tuples import pairs_of_tuples

Pair = tuple[int, int]


def pairs(repeated: list[bool], negatives: int, per_positive: int | None = None) -> list[Pair]:
    rows, documents = pairs_of_tuples(np.array(repeated, bool), negatives, per_positive)
    return list(zip(rows.tolist(), documents.tolist(), strict=True))


def test_a_positive_stands_once_in_a_run() -> None:
    assert pairs([False, True, True, False], 1) == [(0, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]
    assert pairs([False, False], 2) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_a_positive_for_so_many_negatives() -> None:
    # Whether or not triples of a query stand together, there is one positive to two negatives.
    expected = [(0, 0), (0, 1), (1, 1), (2, 0), (2, 1), (3, 1), (4, 0), (4, 1)]
    assert pairs([False, True, True, True, True], 1, 2) == expected
    assert pairs([False] * 5, 1, 2) == expected
    # Of a tuple of many negatives, its positive is taken again.
    assert pairs([False], 4, 2) == [(0, 0), (0, 1), (0, 2), (0, 0), (0, 3), (0, 4)]


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4), st.none() | st.integers(1, 7))
def test_as_a_loop_makes_them(repeated: list[bool], negatives: int, per_positive: int | None) -> None:
    expected: list[Pair] = []
    since = 0
    for row, again in enumerate(repeated):
        for negative in range(1, negatives + 1):
            due = (negative == 1 and not again) if per_positive is None else since % per_positive == 0
            if due:
                expected.append((row, 0))
            expected.append((row, negative))
            since += 1
    assert pairs(repeated, negatives, per_positive) == expected
