"""Counters that workers add to while they work and the driver reads for its progress line."""

from __future__ import annotations

import time
from typing import Any

import ray

ELAPSED = "elapsed"
"""Name of the seconds since work began, among the sums that `Meter.read` returns."""
_SEND_SECONDS = 1.0


@ray.remote(num_cpus=0)
class _Totals:
    """Sums by name, and for how long there has been anything to add."""

    def __init__(self) -> None:
        self._totals: dict[str, float] = {}
        self._begun: float | None = None

    def add(self, amounts: dict[str, float]) -> None:
        self._begun = self._begun or time.monotonic() - _SEND_SECONDS
        for name, amount in amounts.items():
            self._totals[name] = self._totals.get(name, 0) + amount

    def read(self) -> dict[str, float]:
        elapsed = time.monotonic() - self._begun if self._begun else 0.0
        return {**self._totals, ELAPSED: elapsed}


class Meter:
    """The driver's end: owns the counters."""

    def __init__(self) -> None:
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        self._totals = _Totals.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
        self._pending: Any = None
        self._last: dict[str, float] = {}

    def client(self) -> MeterClient:
        """What a worker gets."""
        return MeterClient(self._totals)

    def read(self) -> dict[str, float]:
        """The latest sums; never waits longer than a moment, and keeps the last ones when nobody answers."""
        try:
            self._pending = self._pending or self._totals.read.remote()
            ready, _ = ray.wait([self._pending], timeout=0.2)
            if ready:
                self._last, self._pending = ray.get(self._pending), None
        except ray.exceptions.RayError:
            self._pending = None
        return dict(self._last)


class MeterClient:
    """A worker's end: adds up and sends once a second, without waiting for an answer."""

    def __init__(self, totals: Any) -> None:
        self._totals = totals
        self._amounts: dict[str, float] = {}
        self._sent = time.monotonic()

    def add(self, **amounts: float) -> None:
        """Count `amounts`."""
        for name, amount in amounts.items():
            self._amounts[name] = self._amounts.get(name, 0) + amount
        if time.monotonic() - self._sent >= _SEND_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what has been counted."""
        if self._amounts:
            self._totals.add.remote(self._amounts)
        self._amounts, self._sent = {}, time.monotonic()
