"""SplitMix64 beside known numbers, and beside its definition in whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.splitmix import GOLDEN_GAMMA, splitmix64


@pytest.mark.parametrize(
    ("seed", "numbers"),
    [
        # As java.util.SplittableRandom gives them.
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]),
    ],
)
def test_known_numbers(seed: int, numbers: list[int]) -> None:
    states = np.uint64(seed) + np.arange(len(numbers), dtype=np.uint64) * GOLDEN_GAMMA
    assert splitmix64(states).tolist() == numbers


def by_definition(state: int) -> int:
    mixed = (state + 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
    return mixed ^ mixed >> 31


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2)))
def test_every_place_of_an_array_by_itself(states: list[list[int]]) -> None:
    found = splitmix64(np.array(states, np.uint64).reshape(-1, 2))
    assert found.dtype == np.uint64
    assert found.tolist() == [[by_definition(state) for state in row] for row in states]
