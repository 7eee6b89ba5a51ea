"""A job's Ray: started here or joined; a job that may begin on an empty cluster waits for its first machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from st_ray.core.errors import ResourceError
from st_ray.core.summary import human_seconds
from st_ray.runtime.config import JobConfig
from st_ray.runtime.log import current_log
from st_ray.runtime.progress import LOG_EVERY_SECONDS
from st_ray.runtime.resources import Node, cluster_can_grow, cluster_nodes, machine_for
from st_ray.runtime.session import ray_session

WAIT_SECONDS = 1800.0
"""Longer than clouds take to start a machine and to install what a cluster.yaml says."""


@contextmanager
def job_session(config: JobConfig) -> Iterator[None]:
    """`ray_session` as the flags say; with `--actors 0:MAX` on a cluster that can grow, one that has room for an actor.

    Its size and its GPU decide how many actors fit, and what they compute in.

    Raises:
        ResourceError: no cluster answers, or no machine came in half an hour.
    """
    with ray_session(config.address, debug=config.debug):
        machine = machine_for(config.actors, config.gpus_per_actor, config.cpus_per_actor)
        if machine is not None and cluster_can_grow() and not any(map(machine.fits_into, cluster_nodes())):
            _wait_for(machine, WAIT_SECONDS)
        yield


def _wait_for(machine: Node, seconds: float) -> None:
    """Until a task that needs `machine` has run; while it cannot, the autoscaler sees it and adds what it can."""
    import ray

    asked = f"a machine with {machine.cpus:g} CPUs" + (f" and {machine.gpus:g} GPUs" if machine.gpus else "")
    probe = ray.remote(_nothing).options(num_cpus=machine.cpus, num_gpus=machine.gpus or None).remote()
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        text = f"waiting for {asked} from the autoscaler  {human_seconds(waited)}"
        current_log().tell("waiting", text, waited_seconds=round(waited, 1))
        if ray.wait([probe], timeout=min(LOG_EVERY_SECONDS, seconds))[0]:
            ray.get(probe)  # raises where Ray has given up on it
            return
        if waited >= seconds:
            ray.cancel(probe)
            raise ResourceError(
                f"{asked} did not come in {human_seconds(waited)}",
                "look at what the autoscaler says (`ray status`), and whether it has machines of that size",
            )


def _nothing() -> None:
    pass
