"""SplitMix64, which makes hashes out of numbers: as good as random, and the same on every machine."""

from __future__ import annotations

import numpy as np

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""What the generator's state grows by: 2^64 divided by the golden ratio, made odd."""


def splitmix64(states: np.ndarray) -> np.ndarray:
    """What the generator gives first in each state: uint64 `[...]` for uint64 `[...]`, one to one.

    From Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (OOPSLA 2014).
    """
    mixed = states + GOLDEN_GAMMA
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
