"""What an actor does with one shard's tokens, told to the meter while it does it."""

from __future__ import annotations

import time
from typing import Any

from st_ray.models.cache import waited_seconds

CONVERSION = "conversion"
"""Name, on the meter, of the seconds that an actor waited for its model to be converted."""


class ShardWork:
    """Counts of one shard.

    Args:
        meter: the actor's `MeterClient`.
        share: rows of the shard for each one that the model runs; identical texts run once.
    """

    def __init__(self, meter: Any, share: float) -> None:
        self._meter = meter
        self._share = share
        self._told = time.perf_counter()
        meter.put(**{CONVERSION: waited_seconds("openvino", "onnx")})
        if meter.idle_since is not None:
            meter.add(idle=self._told - meter.idle_since)
        self.places = 0

    def on_batch(self, rows: int, tokens: int, places: int) -> None:
        """A `Progress` for the model."""
        self.places += places
        self._meter.add(rows=rows * self._share, tokens=tokens, places=places, batches=1, seconds=self._lap())

    def end(self, reused: int = 0) -> None:
        """The model is done with the shard; rows that it need not run count as done too."""
        self._meter.add(seconds=self._lap(), rows=reused)
        self._meter.idle_since = self._told
        self._meter.flush()

    def _lap(self) -> float:
        """Seconds that nobody has been told of."""
        before, self._told = self._told, time.perf_counter()
        return self._told - before
