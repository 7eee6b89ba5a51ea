"""Sums of floating-point numbers without any rounding, so that they depend on neither order nor partition.

A sum is a Python integer that counts units of 2**-1126, of which every float64 is a multiple: sums of parts are added
up as they are, and only the end result is rounded, once.
"""

from __future__ import annotations

import math

import numpy as np

_MANTISSA_BITS = 53
_LOWEST_EXPONENT = -1073
"""That `frexp` gives, of the smallest float64."""
UNITS = 1 << (_MANTISSA_BITS - _LOWEST_EXPONENT)
"""In 1."""
_LOW_BITS = 27
_BLOCK = 1 << 16
"""Values at a time: they stay in the cache, and sums of halves of mantissas stay exact."""
_SPLITTER = float((1 << _LOW_BITS) + 1)


def exact_sum(values: np.ndarray) -> int:
    """The sum of finite `values` `[n]`, in `UNITS`."""
    values = np.asarray(values, np.float64)
    return sum(_block_sum(values[first : first + _BLOCK]) for first in range(0, len(values), _BLOCK))


def mean(values: np.ndarray) -> float:
    """The mean of finite `values` `[n]`, rounded once; nan of none."""
    return exact_mean(exact_sum(values), len(values))


def exact_mean(units: int, count: int) -> float:
    """The mean of `count` values whose sum is `units`, rounded once; nan of none."""
    return units / (UNITS * count) if count else math.nan


def exact_dot(left: np.ndarray, right: np.ndarray) -> int:
    """The sum of the products of finite `left` and `right` `[n]`, in `UNITS`.

    Each product is the sum of its rounded value and of the error of that (Dekker, 1971); errors below 1e-308 vanish.
    """
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    total = 0
    for first in range(0, len(left), _BLOCK):
        one, other = left[first : first + _BLOCK], right[first : first + _BLOCK]
        product = one * other
        (high, low), (other_high, other_low) = _halves(one), _halves(other)
        error = low * other_low - (((product - high * other_high) - low * other_high) - high * other_low)
        total += _block_sum(product) + _block_sum(error)
    return total


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers of half as many bits each that sum to the value (Veltkamp)."""
    scaled = values * _SPLITTER
    high = scaled - (scaled - values)
    return high, values - high


def _block_sum(values: np.ndarray) -> int:
    if not values.any():
        return 0
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, _MANTISSA_BITS).astype(np.int64)
    lowest = int(exponents.min())
    bins = exponents - lowest
    high = np.bincount(bins, whole >> _LOW_BITS)
    low = np.bincount(bins, whole & ((1 << _LOW_BITS) - 1))
    return sum(
        ((int(upper) << _LOW_BITS) + int(lower)) << (lowest + number - _LOWEST_EXPONENT)
        for number, (upper, lower) in enumerate(zip(high, low, strict=True))
        if upper or lower
    )
