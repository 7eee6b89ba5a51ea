"""What workers count, as the driver reads it."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import ray
from ray.experimental import internal_kv

from st_ray.runtime import meter
from st_ray.runtime.meter import ELAPSED, Meter, MeterClient

pytestmark = pytest.mark.usefixtures("local_ray")


@ray.remote
class Worker:
    def count(self, client: MeterClient, times: int, step: int) -> None:
        for _ in range(times):
            client.add(rows=2, seconds=0.5)
        client.put(step=step)
        client.flush()

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_sums_are_those_of_all_processes_the_dead_among_them() -> None:
    mine, other = Meter(), Meter()
    assert mine.read() == {ELAPSED: 0.0}
    workers = [Worker.remote() for _ in range(2)]
    ray.get([worker.count.remote(mine.client(), 10, 1) for worker in workers])
    ray.get(workers[0].count.remote(mine.client(), 5, 3))
    ray.get(workers[1].count.remote(other.client(), 1, 9))
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(workers[0].die.remote())
    found = mine.read()
    assert 0 < found.pop(ELAPSED) < 60
    assert found == {"rows": 50, "seconds": 12.5, "step": 3}
    assert other.read()["rows"] == 2


def test_a_job_leaves_nothing_behind() -> None:
    counted = Meter()
    counted.client().put(step=1)
    client = counted.client()
    client.add(rows=np.int64(1))
    client.flush()
    assert counted.read()["rows"] == 1
    meter.forget_meters()
    assert internal_kv._internal_kv_list("", namespace="st_ray_meters") == []


def test_what_cannot_be_told_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Meter()
    client = counted.client()

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("nobody there")

    with monkeypatch.context() as broken:
        broken.setattr(internal_kv, "_internal_kv_put", fail)
        client.add(rows=1)
        client.flush()
        broken.setattr(internal_kv, "_internal_kv_list", fail)
        assert counted.read() == {}
    client.add(rows=2)
    client.flush()
    assert counted.read()["rows"] == 3
