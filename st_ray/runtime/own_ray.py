"""A Ray for one job alone: on the loopback address, without the processes that only a cluster has questions for.

Ray has no settings for most of this, so its private parts are replaced while it starts (and Ray Data's while it runs);
a release that lacks one of them is left as it is.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

# Enough for the few shards in flight; Ray's default (30% of the memory) would let queues grow into it.
_OBJECT_STORE = 2 << 30
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray ends idle workers after a second where there are more than CPUs; starting one anew for each part costs a
    # second of CPU, which on a small machine is taken from the model.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # Nobody looks at the events and metrics of a Ray that ends with the job.
    "RAY_task_events_report_interval_ms": "0",
    "RAY_metrics_report_interval_ms": "60000",
    # Every worker of ours will run a task of Ray Data, and has nothing else to do before.
    "RAY_preload_python_modules": "ray.data",
    # The raylet often comes to its object store's socket a moment too early, and then sleeps for a second.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
}
"""Its environment."""
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_LOOK_SECONDS = 0.02
_START_SECONDS = 30.0
_AGENT = "--dashboard_agent_command="
# A raylet holds the other end of its agents' standard input.
_UNTIL_PARENT_ENDS = "import sys; sys.stdin.read()"


def object_store_bytes() -> int:
    """Of its object store: a fifth of the memory, 2 GiB at most."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(80 << 20, min(_OBJECT_STORE, memory // 5))


@contextmanager
def starting(*, with_logs: bool = False) -> Iterator[None]:
    """`ray.init` in the block starts a Ray that none but this machine reaches, and as fast as it can.

    Left out are the autoscaler's monitor, the dashboard's server (which is started without a dashboard too, and waited
    for), the dashboard's agent and, unless asked for, the forwarding of workers' logs: half a second of CPU each, and a
    whole one of the agent, for which the first workers would wait.

    Args:
        with_logs: workers' output is to come to this process.
    """
    from ray._private import services, utils
    from ray._private.node import Node

    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with ExitStack() as stack:
        stack.enter_context(_on_loopback())
        _replace(stack, Node, "start_monitor", _nothing)
        _replace(stack, Node, "start_api_server", _nothing)
        if not with_logs:
            _replace(stack, Node, "start_log_monitor", _nothing)
        _replace(stack, services, "get_node", _seen_soon(services.get_node))
        _replace(stack, services, "start_ray_process", _without_agent(services.start_ray_process))
        # To find out, Ray would load all that its dashboard needs.
        _replace(stack, utils, "get_dashboard_dependency_error", lambda: ImportError("no dashboard"))
        yield


@contextmanager
def without_data_helpers() -> Iterator[None]:
    """Pipelines of Ray Data in the block start no actors of their own beside ours.

    They would keep figures for a dashboard, share an autoscaling cluster out among several drivers, and know on which
    machine each of our actors is: half a second of CPU each, at the moment when the model is loaded.
    """
    from ray.data._internal import stats
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import DefaultAutoscalingCoordinator
    from ray.data._internal.execution.operators import actor_pool_map_operator

    whole = _resources()
    with ExitStack() as stack:
        _replace(stack, stats, "get_or_create_stats_actor", _Nobody)
        _replace(stack, actor_pool_map_operator, "get_or_create_actor_location_tracker", _Nobody)
        _replace(stack, actor_pool_map_operator, "get_actor_locations", lambda *_: {})
        _replace(stack, DefaultAutoscalingCoordinator, "request_resources", _nothing)
        _replace(stack, DefaultAutoscalingCoordinator, "cancel_request", _nothing)
        _replace(stack, DefaultAutoscalingCoordinator, "get_reserved_resources", lambda *_: whole)
        yield


def _resources() -> dict[str, dict[str, float]]:
    """Of each machine, by its id."""
    import ray

    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let no process of a Ray that is started in the block listen on any but the loopback address.

    Whoever reaches a port of Ray's can run code here. Ray itself does so on macOS and Windows alone, unless this
    variable says otherwise; it is read when Ray is imported, which in this process was before.
    """
    from ray._private import ray_constants

    before = os.environ.get(_CLUSTERS), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_CLUSTERS] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[_CLUSTERS]
        else:
            os.environ[_CLUSTERS] = before[0]


def _seen_soon(get_node: Callable[..., Any]) -> Callable[..., Any]:
    """Ray's `get_node`, which looks once a second whether a machine has come, told to look when it has."""

    def soon(gcs_address: str, node_id: str) -> Any:
        from ray._private import services
        from ray._private.state import GlobalState

        state = GlobalState()
        state._initialize_global_state(services._get_gcs_client_options(gcs_address))
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and not any(node["NodeID"] == node_id for node in state.node_table()):
            time.sleep(_LOOK_SECONDS)
        return get_node(gcs_address, node_id)

    return soon


def _without_agent(start: Callable[..., Any]) -> Callable[..., Any]:
    """Ray's `start_ray_process`, with an idle process for a raylet in place of its dashboard's agent.

    A raylet ends with its agent, so there must be one, and it waits for the agent to say at which ports it listens: at
    none, as that of a Ray which is installed without its dashboard says.
    """

    def started(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
        if any(part.startswith(_AGENT) for part in command):
            _tell_no_ports(command)
            idle = subprocess.list2cmdline([sys.executable, "-S", "-I", "-c", _UNTIL_PARENT_ENDS])
            command = [_AGENT + idle if part.startswith(_AGENT) else part for part in command]
        return start(command, process_type, *args, **kwargs)

    return started


def _tell_no_ports(command: list[str]) -> None:
    """To the raylet that `command` starts, as its dashboard's agent would."""
    raylet: Any = importlib.import_module("ray._raylet")  # whose parts are not typed
    flags = dict(part.removeprefix("--").split("=", 1) for part in command if "=" in part)
    for name in (
        raylet.METRICS_AGENT_PORT_NAME,
        raylet.METRICS_EXPORT_PORT_NAME,
        raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME,
    ):
        raylet.persist_port(flags["session_dir"], flags["node_id"], name, -1)


class _Nobody:
    """An actor's handle that forgets whatever it is told; workers get it too."""

    def __getattr__(self, method: str) -> _Nobody:
        return self

    def remote(self, *args: object, **kwargs: object) -> None:
        """Do nothing."""


def _nothing(*args: object, **kwargs: object) -> None:
    """Stands for a method whose effect is not wanted."""


def _replace(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set `owner.name` until the stack closes, if there is such a thing."""
    if hasattr(owner, name):
        stack.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)
