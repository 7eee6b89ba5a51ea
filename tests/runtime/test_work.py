"""What an actor tells of its shards, by a clock of ours."""

from __future__ import annotations

from collections import Counter

import pytest

from st_ray.runtime import work
from st_ray.runtime.work import ShardWork


class Recorder:
    """A meter that remembers."""

    idle_since: float | None = None

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()

    def add(self, **amounts: float) -> None:
        self.sums.update(amounts)  # type: ignore[arg-type]

    def put(self, **values: float) -> None:
        pass

    def flush(self) -> None:
        pass


def test_seconds_are_told_by_the_batch_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(work.time, "perf_counter", lambda: now)
    meter = Recorder()
    first = ShardWork(meter, share=1.5)
    now = 103.0
    first.on_batch(2, 10, 16)
    assert meter.sums == {"rows": 3, "tokens": 10, "places": 16, "batches": 1, "seconds": 3}
    now = 104.0
    first.end(reused=4)
    assert (meter.sums["seconds"], meter.sums["rows"], first.places) == (4, 7, 16)
    now = 110.0
    second = ShardWork(meter, share=1.0)
    assert meter.sums["idle"] == 6
    now = 111.0
    second.end()
    assert (meter.sums["seconds"], meter.sums["idle"]) == (5, 6)
