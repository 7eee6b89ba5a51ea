"""Counters that workers add to while they work and the driver reads for its progress line.

They stand in the key-value store of the cluster, a value for each process that counts: no process is needed that keeps
them, which on a small machine would take its share from the model.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

import ray
from ray.experimental import internal_kv

ELAPSED = "elapsed"
"""Name of the seconds since work began, among the sums that `Meter.read` returns."""
_SEND_SECONDS = 1.0
_NAMESPACE = "st_ray_meters"
_ERRORS = (ray.exceptions.RayError, RuntimeError, ConnectionError)
"""Of a store that does not answer. What counts is the work: it goes on without being counted."""

_numbers = itertools.count()


class Meter:
    """The driver's end: counters of its own."""

    def __init__(self) -> None:
        self._prefix = f"{_job()}/{next(_numbers)}/"
        self._seen: set[str] = set()
        self._begun = float("inf")
        self._last: dict[str, float] = {}

    def client(self) -> MeterClient:
        """What a worker gets."""
        return MeterClient(self._prefix)

    def read(self) -> dict[str, float]:
        """The latest sums; the last ones when nobody answers."""
        with suppress(*_ERRORS):
            self._last = self._sums()
        return dict(self._last)

    def _sums(self) -> dict[str, float]:
        told = [(key, json.loads(value)) for key, value in _values(self._prefix)]
        sums: dict[str, float] = defaultdict(float)
        for key, one in sorted(told, key=lambda item: item[1]["at"]):
            if key not in self._seen:
                self._seen.add(key)
                self._begun = min(self._begun, time.monotonic() - one["age"])
            for name, amount in one["amounts"].items():
                sums[name] += amount
            sums.update(one["latest"])
        return {**sums, ELAPSED: time.monotonic() - self._begun if told else 0.0}


class MeterClient:
    """A worker's end: adds up and tells once a second.

    Attributes:
        idle_since: when the worker's model was done with a shard, by `time.perf_counter`; None before the first.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
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
        """Tell what has been counted."""
        if self._amounts or self._latest:
            _of_this_process.tell(self._prefix, self._amounts, self._latest)
        self._amounts, self._latest, self._sent = {}, {}, time.monotonic()


def forget_meters() -> None:
    """Remove all that this job has counted from the cluster's store."""
    with suppress(*_ERRORS):
        internal_kv._internal_kv_del(f"{_job()}/", del_by_prefix=True, namespace=_NAMESPACE)


@dataclass
class _Told:
    """What this process has counted on one meter."""

    begun: float
    amounts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    latest: dict[str, float] = field(default_factory=dict)


class _Process:
    """All that this process has counted, by meter: its clients come and go with tasks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._name = uuid.uuid4().hex
        self._told: dict[str, _Told] = {}

    def tell(self, prefix: str, amounts: dict[str, float], latest: dict[str, float]) -> None:
        with self._lock:
            told = self._told.setdefault(prefix, _Told(time.monotonic() - _SEND_SECONDS))
            for name, amount in amounts.items():
                told.amounts[name] += amount
            told.latest |= latest
            age = time.monotonic() - told.begun
            value = {"amounts": told.amounts, "latest": told.latest, "age": age, "at": time.time()}
            text = json.dumps(value, default=float)  # NumPy's numbers too
            with suppress(*_ERRORS):
                internal_kv._internal_kv_put(prefix + self._name, text, namespace=_NAMESPACE)


_of_this_process = _Process()


def _job() -> str:
    found: str = ray.get_runtime_context().get_job_id()
    return found


def _values(prefix: str) -> list[tuple[str, bytes]]:
    """All keys that begin so, with their values."""
    keys = internal_kv._internal_kv_list(prefix, namespace=_NAMESPACE)
    client = internal_kv.internal_kv_get_gcs_client()
    if client is not None:
        found = client.internal_kv_multi_get(keys, _NAMESPACE.encode())
    else:  # beyond ray://, where only single ones can be asked for
        found = {key: internal_kv._internal_kv_get(key, namespace=_NAMESPACE) for key in keys}
    return [(key.decode(), value) for key, value in found.items() if value is not None]
