"""A Ray that a job starts for itself: on the loopback address, and no process of it beyond those that work."""

from __future__ import annotations

import json
import os
import subprocess
import sys

LOOK = """
import json, psutil
from contextlib import suppress
from st_ray.runtime import pipeline
from st_ray.runtime.resources import plan_actors, cluster_nodes
from st_ray.runtime.session import data_context, ray_session

def private():
    from ray._private import services, utils
    from ray._private.node import Node
    from ray.data._internal import stats
    return (
        Node.start_monitor, Node.start_api_server, services.get_node, services.start_ray_process,
        utils.get_dashboard_dependency_error, stats.get_or_create_stats_actor,
    )

def look_at(process):
    listening = [c.laddr.ip for c in process.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
    return " ".join(process.cmdline()), listening

before = private()
with ray_session():
    import ray
    data_context()
    rows = pipeline.start_rows([(0, "a", None), (1, "b", None)], 2, "nowhere")
    done = pipeline.map_actors(rows, lambda: dict, plan_actors(cluster_nodes(), shards=2)).take_all()
    this = psutil.Process()
    seen = [look_at(this)]
    children = this.children(recursive=True)
    for process in children:
        with suppress(psutil.NoSuchProcess):  # actors end now
            seen.append(look_at(process))
    print(json.dumps({
        "done": sorted(row["name"] for row in done),
        "addresses": sorted({address for _, listening in seen for address in listening}),
        "processes": [command for command, _ in seen[1:]],
        "actors": [actor["ActorClassName"] for actor in ray._private.state.actors().values()],
    }))
assert private() == before
assert not psutil.wait_procs(children, timeout=20)[1]
"""


def test_it_listens_on_loopback_alone_and_runs_nothing_that_is_not_asked_for() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    run = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["done"] == ["a", "b"]
    assert seen["addresses"]
    assert set(seen["addresses"]) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert any("raylet" in command for command in seen["processes"])
    left_out = ("monitor.py", "log_monitor.py", "dashboard.py", "agent.py", "Dashboard")
    assert not [command for command in seen["processes"] if any(name in command for name in left_out)]
    assert seen["actors"]
    assert {name.partition("(")[0] for name in seen["actors"]} == {"MapWorker"}
