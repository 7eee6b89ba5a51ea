"""Heads of clusters as processes of their own: `ray start --head`, by hand or with an autoscaler."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RAY = str(Path(sys.executable).with_name("ray"))
HEAD_TYPE = "ray.head.default"
_HEAD_ID = "f" * 51 + "00000"  # by which Ray's provider of simulated machines knows the head


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started_head(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """`ray start --head` with its own folder for sockets, and its machines' processes in one group, ended with it."""
    # The usual port of the agent may be held by another Ray of this test session.
    own = ["--dashboard-agent-listen-port", str(free_port()), "--temp-dir", f"/tmp/r{os.getpid()}-{free_port()}"]
    command = [RAY, "start", "--head", "--block", "--object-store-memory", str(200 << 20), *own, *options]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **(environment or {})}
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_port(port: int, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the head did not start"
            time.sleep(0.2)


@contextmanager
def autoscaling_head(folder: Path, workers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The address of a head without CPUs whose autoscaler adds and removes simulated machines of the types `workers`.

    The environment is that in which `ray up` starts a head.
    """
    port = free_port()
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "gcs_address": f"127.0.0.1:{port}",
        "launch_multiple": True,
        "head_node_id": _HEAD_ID,
    }
    lists = ["initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray"]
    config = {
        "cluster_name": "test",
        "max_workers": sum(int(kind["max_workers"]) for kind in workers.values()),
        "idle_timeout_minutes": 0.1,
        "provider": provider,
        "auth": {},
        "head_node_type": HEAD_TYPE,
        "available_node_types": {
            HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            **{name: {"node_config": {}, "min_workers": 0, **kind} for name, kind in workers.items()},
        },
        **{f"{name}_commands": [] for name in lists},
        **{"docker": {}, "file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False},
        **{"rsync_exclude": [], "rsync_filter": []},
    }
    path = folder / "autoscaling.json"
    path.write_text(json.dumps(config))
    environment = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
        "RAY_NODE_TYPE_NAME": HEAD_TYPE,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }
    options = ["--port", str(port), "--num-cpus", "0", "--include-dashboard", "false"]
    options += ["--min-worker-port", "0", "--max-worker-port", "0", "--autoscaling-config", str(path)]
    with started_head(folder, *options, environment=environment):
        wait_for_port(port)
        yield f"127.0.0.1:{port}"
