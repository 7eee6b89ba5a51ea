"""What an actor does with one shard's tokens, told to the meter while it does it."""

from __future__ import annotations

import time
from typing import Any


class ShardWork:
    """Counts of one shard.

    Args:
        meter: the actor's `MeterClient`.
        share: rows of the shard for each one that the model runs; identical texts run once.
    """

    def __init__(self, meter: Any, share: float) -> None:
        self._meter = meter
        self._share = share
        self._begun = time.perf_counter()
        self.places = 0

    def on_batch(self, rows: int, tokens: int, places: int) -> None:
        """A `Progress` for the model."""
        self.places += places
        self._meter.add(rows=rows * self._share, tokens=tokens, places=places, batches=1)

    def end(self, reused: int = 0) -> None:
        """The model is done with the shard; rows that it need not run count as done too."""
        self._meter.add(seconds=time.perf_counter() - self._begun, rows=reused)
        self._meter.flush()
