"""What actors must know before they begin, and which process finds it out."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from st_ray.core.errors import InputError
from st_ray.runtime.pipeline import known_to
from st_ray.runtime.resources import ActorPlan

pytestmark = pytest.mark.usefixtures("local_ray")


def plan(gpus: float) -> ActorPlan:
    return ActorPlan(
        minimum=1, maximum=1, initial=1, in_flight=2, cpus=1.0, threads=1, gpus=gpus, readers=1, reader_cpus=0.5
    )


def test_actors_on_cpus_find_it_out_themselves() -> None:
    assert known_to(plan(gpus=0.0), os.getpid)() == os.getpid()


def test_for_those_on_gpus_a_process_does_once_and_ends() -> None:
    known = known_to(plan(gpus=1.0), os.getpid)
    process = known()
    assert process != os.getpid() and known() == process
    deadline = time.monotonic() + 60
    while psutil.pid_exists(process):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _fails() -> None:
    raise InputError("no such file", "look for it")


@pytest.mark.parametrize("gpus", [0.0, 1.0])
def test_its_error_comes_as_it_was_raised(gpus: float) -> None:
    with pytest.raises(InputError, match="no such file"):
        known_to(plan(gpus), _fails)()
