"""Counters that workers add to while they work and the driver reads for its progress line."""

from __future__ import annotations

import functools
import itertools
import time
from collections import defaultdict
from typing import Any

import ray

ELAPSED = "elapsed"
"""Name of the seconds since work began, among the sums that `Meter.read` returns."""
_SEND_SECONDS = 1.0


_numbers = itertools.count()


@ray.remote(num_cpus=0, max_restarts=-1)
class _Totals:
    """Of each meter, by its number: sums and latest values by name, and since when there has been anything to add."""

    def __init__(self) -> None:
        self._totals: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._begun: dict[int, float] = {}

    def add(self, meter: int, amounts: dict[str, float], latest: dict[str, float]) -> None:
        self._begun.setdefault(meter, time.monotonic() - _SEND_SECONDS)
        for name, amount in amounts.items():
            self._totals[meter][name] += amount
        self._totals[meter].update(latest)

    def read(self, meter: int) -> dict[str, float]:
        elapsed = time.monotonic() - self._begun[meter] if meter in self._begun else 0.0
        return {**self._totals[meter], ELAPSED: elapsed}


@functools.lru_cache(maxsize=1)
def _totals_on(node: str, job: str) -> Any:
    """The actor that counts for all meters of this driver: a process takes half a second of a core to start."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=True)
    return _Totals.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]


class Meter:
    """The driver's end: counters of its own."""

    def __init__(self) -> None:
        context = ray.get_runtime_context()
        self._number = next(_numbers)
        self._totals = _totals_on(context.get_node_id(), context.get_job_id())
        self._pending: Any = None
        self._last: dict[str, float] = {}

    def client(self) -> MeterClient:
        """What a worker gets."""
        return MeterClient(self._totals, self._number)

    def read(self, wait: float = 0.2) -> dict[str, float]:
        """The latest sums; never waits longer than `wait` seconds, and keeps the last ones when nobody answers."""
        try:
            self._pending = self._pending or self._totals.read.remote(self._number)
            ready, _ = ray.wait([self._pending], timeout=wait)
            if ready:
                self._last, self._pending = ray.get(self._pending), None
        except ray.exceptions.RayError:
            self._pending = None
        return dict(self._last)


class MeterClient:
    """A worker's end: adds up and sends once a second, without waiting for an answer.

    Attributes:
        idle_since: when the worker's model was done with a shard, by `time.perf_counter`; None before the first.
    """

    def __init__(self, totals: Any, number: int) -> None:
        self._totals, self._number = totals, number
        self._amounts: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self.idle_since: float | None = None
        self._sent = time.monotonic()

    def add(self, **amounts: float) -> None:
        """Count `amounts`."""
        for name, amount in amounts.items():
            self._amounts[name] = self._amounts.get(name, 0) + amount
        if time.monotonic() - self._sent >= _SEND_SECONDS:
            self.flush()

    def put(self, **values: float) -> None:
        """Tell the latest `values`, with what is counted next."""
        self._latest |= values

    def flush(self) -> None:
        """Send what has been counted."""
        if self._amounts or self._latest:
            self._totals.add.remote(self._number, self._amounts, self._latest)
        self._amounts, self._latest, self._sent = {}, {}, time.monotonic()
