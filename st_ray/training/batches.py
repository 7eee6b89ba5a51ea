"""Which examples make which batch: a function of the seed, the epoch and the step alone, in memory for a few batches.

A pseudorandom permutation, computed place by place, shuffles the examples of an epoch, so that nothing as long as the
data is ever held, and a run that goes on in the middle computes what it needs. Examples of some consecutive steps make
a window; within it, those of like length go together, so that little is padded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from st_ray.core.errors import ConfigError
from st_ray.core.splitmix import splitmix64

WINDOW = 64
"""Steps of a window, at most."""
_ROUNDS = 6
"""Of the cipher, an even number."""


@dataclass(frozen=True)
class Window:
    """Consecutive steps of an epoch, whose examples are shared out among their batches by length.

    Attributes:
        rows: int64 `[w]`, numbers of the examples.
        first_step: number of the first step, counted from the start of the training.
        steps: how many there are.
    """

    rows: np.ndarray
    first_step: int
    steps: int


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a training.

    Attributes:
        examples: how many there are.
        batch: examples of one step, all workers together.
        epochs: how often each example is seen; a part of an epoch counts too.
        seed: 0 or more.
        grouped: whether examples of like length are put together.

    Raises:
        ConfigError: a number makes no sense.
    """

    examples: int
    batch: int
    epochs: float
    seed: int
    grouped: bool = True

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise ConfigError("there is no example to train with", "give data with one example or more")
        if self.batch < 1:
            raise ConfigError(f"a batch of {self.batch} examples", "use a batch size of 1 or more")
        if not 0 < self.epochs < math.inf:
            raise ConfigError(f"{self.epochs} epochs of training", "use a number above 0")
        if self.seed < 0:
            raise ConfigError(f"the seed {self.seed} is negative", "use a seed of 0 or more")

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each example is seen once; the last one's batch may be smaller."""
        return -(-self.examples // self.batch)

    @property
    def steps(self) -> int:
        """Steps of all epochs, rounded up as in the Trainer of transformers, so that there is one at least."""
        return math.ceil(self.epochs * self.steps_per_epoch)

    def windows(self, start: int = 0) -> Iterator[Window]:
        """The windows from the one that holds the step `start` on; none where that is past the last step."""
        first = start - start % self.steps_per_epoch % WINDOW
        while first < self.steps:
            window = self._window(first)
            yield window
            first += window.steps

    def batches(self, window: Window, lengths: np.ndarray) -> list[np.ndarray]:
        """The batches of a window, in the order of its steps: int64 positions within `window.rows`, each in one batch.

        Grouped, the examples are sorted by length and cut; the order of the batches is then shuffled. A smaller batch,
        at the end of an epoch, stays the last one, and may be of any length.

        Args:
            lengths: tokens of each of the window's examples, int `[w]`.
        """
        if not self.grouped:
            return np.split(np.arange(len(window.rows)), np.arange(self.batch, len(window.rows), self.batch))
        order = _permuted(np.arange(window.steps), window.steps, _keys(self.seed, window.first_step, 0))
        sizes = np.full(window.steps, self.batch)
        sizes[order[-1]] -= window.steps * self.batch - len(window.rows)
        by_length = np.split(np.argsort(lengths, kind="stable"), np.cumsum(sizes)[:-1])
        return [by_length[place] for place in order]

    def _window(self, first_step: int) -> Window:
        epoch, step = divmod(first_step, self.steps_per_epoch)
        steps = min(WINDOW, self.steps_per_epoch - step, self.steps - first_step)
        places = np.arange(step * self.batch, min((step + steps) * self.batch, self.examples))
        return Window(scattered(places, self.examples, self.seed, epoch), first_step, steps)


def scattered(places: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """What a pseudorandom permutation of 0 to `count` - 1 has at some of its places: int64 `[m]` for places int `[m]`.

    The permutation depends on `count`, the seed and the epoch (these two 0 or more); each place is computed by itself.

    Raises:
        ValueError: a place is not one of 0 to `count` - 1.
    """
    if len(places) and not (places.min() >= 0 and places.max() < count):
        raise ValueError(f"places from {places.min()} to {places.max()} are not all among 0 to {count - 1}")
    return _permuted(places, count, _keys(seed, epoch))


def _keys(seed: int, *purpose: int) -> np.ndarray:
    """A key for each round of the cipher, uint64."""
    return np.random.SeedSequence(seed, spawn_key=purpose).generate_state(_ROUNDS, np.uint64)


def _permuted(places: np.ndarray, count: int, keys: np.ndarray) -> np.ndarray:
    """A generalized Feistel cipher with cycle walking (Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).

    It permutes the numbers below the least product of two near-equal factors that is `count` or more. What comes out at
    `count` or above goes in again: few numbers do, and each ends where no other does.
    """
    left = math.isqrt(count - 1) + 1
    right = -(-count // left)
    numbers = _enciphered(places.astype(np.uint64), left, right, keys)
    while len(outside := np.flatnonzero(numbers >= np.uint64(count))):
        numbers[outside] = _enciphered(numbers[outside], left, right, keys)
    return numbers.astype(np.int64)


def _enciphered(numbers: np.ndarray, left: int, right: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of the numbers below `left` x `right`, both below 2^32: uint64 `[m]`, for uint64 `[m]`."""
    one, other = np.divmod(numbers, np.uint64(right))
    sizes = np.uint64(left), np.uint64(right)
    for key in keys:
        # The upper half of the hash times the size, less its lower half: a number below the size.
        one = (one + ((splitmix64(other ^ key) >> np.uint64(32)) * sizes[0] >> np.uint64(32))) % sizes[0]
        one, other, sizes = other, one, sizes[::-1]
    return one * np.uint64(right) + other
