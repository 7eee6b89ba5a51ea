"""Encode on a cluster of two nodes and remove one in the middle: `python -m tests.ray.two_nodes SOURCE OUTPUT`."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from st_ray.runtime.encode.job import encode
from tests.ray.corpora import config_for
from tests.stubs import StubLoader


def main(source: str, output: str) -> None:
    small = {"object_store_memory": 100 << 20}
    # A dead node is noticed after seconds, not half a minute.
    impatient = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": impatient, **small}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(num_cpus=2, **small)
    ray.init(address=cluster.address, log_to_driver=False)
    seen: list[int] = []

    def commits() -> int:
        return len(list(Path(output).glob("commits/*.json")))

    def remove_second() -> None:
        # On a machine that is busy, the second node's actor comes late.
        while commits() < 3 or (commits() < 9 and not _actors_on_other_nodes()):
            time.sleep(0.02)
        seen.append(_actors_on_other_nodes())
        cluster.remove_node(second, allow_graceful=False)

    remover = threading.Thread(target=remove_second)
    remover.start()
    # Two actors that fit only one to a node.
    encode(config_for(source, output, actors="2", cpus_per_actor=1.0), StubLoader(seconds=0.4))
    remover.join()
    assert len([node for node in ray.nodes() if node["Alive"]]) == 1, "the second node still stands"
    print(f"actors on the removed node: {seen[0]}", flush=True)
    ray.shutdown()
    cluster.shutdown()
    os._exit(0)  # Ray's own exit handlers complain of the node that is gone


def _actors_on_other_nodes() -> int:
    here = ray.get_runtime_context().get_node_id()
    actors = ray._private.state.actors().values()
    return sum(
        actor["State"] == "ALIVE" and "MapWorker" in actor["ActorClassName"] and actor["Address"]["NodeID"] != here
        for actor in actors
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
