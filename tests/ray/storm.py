"""Jobs on a cluster whose processes are killed at random: `python -m tests.ray.storm GROUP INPUTS OUTPUT [SEED]`.

The jobs of a group (see `tests.ray.storm_jobs`) run one after another. Meanwhile a worker of Ray's is killed every so
often, and now and then a whole machine, in whose place another one joins. A job that gives up is run again, as its
error says. The last line is a JSON object that counts what was done to them.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from st_ray.core.errors import ShardError
from tests.ray.storm_jobs import GROUPS, small_pieces

_RUNS = 6
_SECONDS = 0.1
"""Of work on a shard, by stubs."""
_PERIOD = 2.0
"""Seconds between two kills, about, ..."""
_LULL = 20.0
"""... and at most, where nothing is committed meanwhile: on a busy computer processes take long to start."""
_MACHINES = 2
_MACHINE_SHARE = 0.2
_SMALL = {"object_store_memory": 100 << 20}
# A dead node is noticed after seconds, not half a minute.
_IMPATIENT = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


class _Storm:
    """The jobs, in a thread of their own: machines can be added from the main thread alone."""

    def __init__(self, group: str, inputs: str, output: str) -> None:
        self.counts = Counter[str]()
        self.job = ""
        self._names = group, inputs, output
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def goes_on(self, seconds: float) -> bool:
        """Whether the jobs are still at work after so long. Raises what a job raised that could not be gone on with."""
        self._thread.join(seconds)
        if self._failure is not None:
            raise self._failure
        return self._thread.is_alive()

    def _run(self) -> None:
        group, inputs, output = self._names
        try:
            with small_pieces():
                for self.job, job in GROUPS[group](inputs, output, seconds=_SECONDS):
                    begun = time.monotonic()
                    self._until_done(job)
                    self.counts[f"{self.job}: seconds"] = round(time.monotonic() - begun)
        except BaseException as error:
            self._failure = error

    def _until_done(self, job: Callable[[], Any]) -> None:
        for _ in range(_RUNS):
            self.counts[f"{self.job}: runs"] += 1
            try:
                job()
            except ShardError as error:
                print(error, file=sys.stderr, flush=True)
            else:
                return
        raise AssertionError(f"{self.job} was not done in {_RUNS} runs")


def main(group: str, inputs: str, output: str, seed: str = "0") -> None:
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": _IMPATIENT, **_SMALL}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    machines = [_machine(cluster) for _ in range(_MACHINES)]
    ray.init(address=cluster.address, log_to_driver=False)
    chance = random.Random(int(seed))
    storm = _Storm(group, inputs, output)
    seen, struck = 0, time.monotonic()
    while storm.goes_on(chance.uniform(0.5, 1.5) * _PERIOD):
        made = sum(len(names) for folder, _, names in os.walk(output) if folder.endswith("/commits"))
        if made == seen and time.monotonic() - struck < _LULL:
            continue
        if chance.random() < _MACHINE_SHARE:
            cluster.remove_node(machines.pop(0), allow_graceful=False)
            storm.counts["machines killed"] += 1
            machines.append(_machine(cluster))
        elif victims := _workers():
            chance.choice(victims).kill()
            storm.counts["workers killed"] += 1
        storm.counts[f"{storm.job}: kills"] += 1
        seen, struck = made, time.monotonic()
    print(json.dumps(storm.counts), flush=True)
    os._exit(0)  # Ray's own exit handlers complain of the nodes that are gone


def _machine(cluster: Cluster) -> Any:
    """One that joins; on a busy computer it may take more than one start."""
    for _ in range(_RUNS):
        try:
            return cluster.add_node(num_cpus=2, **_SMALL)
        except Exception as error:  # Ray raises nothing that says more
            print(f"a machine did not start: {error}", file=sys.stderr, flush=True)
    raise AssertionError("no machine could be started")


def _workers() -> list[psutil.Process]:
    """Ray's processes that have work, in a fixed order."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        # A machine dies with its agents, and this process with its own machine.
        if title.startswith("ray::") and not title.startswith("ray::IDLE") and "Agent" not in title:
            found.append(process)
    return sorted(found, key=lambda process: process.pid)


if __name__ == "__main__":
    main(*sys.argv[1:])
