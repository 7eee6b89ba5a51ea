"""Jobs on a cluster whose processes are killed at random: `python -m tests.ray.storm SOURCE OUTPUT [SEED] [PERIOD]`.

One after another: 300 shards are embedded, an index is built of them, and searched. Meanwhile a worker of Ray's is
killed every so often, and now and then a whole machine, in whose place another one joins. A job that gives up is run
again, as its error says. The last line is a JSON object that counts what was done to them.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from st_ray.core.errors import ShardError
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.encode.job import encode
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.job import search
from tests.ray.corpora import config_for
from tests.stubs import StubLoader

SHARD_ROWS = 4
_RUNS = 6
_MACHINES = 2
_MACHINE_SHARE = 0.2
_SMALL = {"object_store_memory": 100 << 20}
# A dead node is noticed after seconds, not half a minute.
_IMPATIENT = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


def jobs(source: str, output: str, seconds: float = 0.0) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name of each job's output, and the job; each works on what those before it made."""
    embeddings, index = f"{output}/embeddings", f"{output}/index"
    pool: dict[str, Any] = {"actors": "2", "cpus_per_actor": 1.0}
    encoding = config_for(source, embeddings, shard_rows=SHARD_ROWS, **pool)
    yield "embeddings", lambda: encode(encoding, StubLoader(seconds=seconds))
    building = BuildIndexConfig(
        embeddings=embeddings, output=index, factory="IVF8,Flat", part_rows=100, target_recall=0.0
    )
    yield "index", lambda: build_index(building)
    searching = SearchConfig(
        queries=(embeddings,), index=index, output=f"{output}/hits", top_k=3, nprobe=8, shard_rows=50, **pool
    )
    yield "hits", lambda: search(searching)


def main(source: str, output: str, seed: str = "0", period: str = "2") -> None:
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": _IMPATIENT, **_SMALL}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    machines = [cluster.add_node(num_cpus=2, **_SMALL) for _ in range(_MACHINES)]
    ray.init(address=cluster.address, log_to_driver=False)
    chance, counts = random.Random(int(seed)), Counter[str]()
    failures: list[BaseException] = []
    # Machines can be added from the main thread alone.
    worker = threading.Thread(target=_run_all, args=(source, output, counts, failures))
    worker.start()
    while worker.is_alive():
        worker.join(chance.uniform(0.5, 1.5) * float(period))
        if chance.random() < _MACHINE_SHARE:
            cluster.remove_node(machines.pop(0), allow_graceful=False)
            machines.append(cluster.add_node(num_cpus=2, **_SMALL))
            counts["machines killed"] += 1
        elif victims := _workers():
            chance.choice(victims).kill()
            counts["workers killed"] += 1
    if failures:
        raise failures[0]
    print(json.dumps(counts), flush=True)
    os._exit(0)  # Ray's own exit handlers complain of the nodes that are gone


def _run_all(source: str, output: str, counts: Counter[str], failures: list[BaseException]) -> None:
    try:
        for name, job in jobs(source, output, seconds=0.1):
            begun = time.monotonic()
            _until_done(name, job, counts)
            counts[f"seconds of {name}"] = round(time.monotonic() - begun)
    except BaseException as error:  # told by the main thread
        failures.append(error)


def _until_done(name: str, job: Callable[[], Any], counts: Counter[str]) -> None:
    for _ in range(_RUNS):
        counts[f"runs of {name}"] += 1
        try:
            job()
        except ShardError as error:
            print(error, file=sys.stderr, flush=True)
        else:
            return
    raise AssertionError(f"{name} were not done in {_RUNS} runs")


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
