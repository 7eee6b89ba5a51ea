"""Starting or joining Ray, with this project's settings in one place."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from st_ray.core.errors import ResourceError, reason_of
from st_ray.core.summary import human_bytes

# Enough for the few shards in flight; Ray's default (30% of the memory) would let queues grow into it.
_LOCAL_OBJECT_STORE = 2 << 30
LOCAL_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray ends idle workers after a second where there are more than CPUs; starting one anew for each part costs a
    # second of CPU, which on a small machine is taken from the model.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # Nobody looks at the events and metrics of a Ray that ends with the job.
    "RAY_task_events_report_interval_ms": "0",
    "RAY_metrics_report_interval_ms": "60000",
}
"""Environment of a Ray that is started on this machine for a job."""
STANDSTILL_SECONDS = 6 * 3600.0
"""After which a pipeline gives up in which nothing moves. What moves are whole shards, which may well take an hour."""
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class Stopped(KeyboardInterrupt):
    """The job was asked to stop, by SIGTERM or Ctrl-C."""


@contextmanager
def ray_session(address: str | None = None, *, debug: bool = False) -> Iterator[None]:
    """Join the cluster at `address` (or `RAY_ADDRESS`), else start Ray on this machine; leave or stop it afterwards.

    A session that is already open is used as it is and left open.

    Raises:
        ResourceError: no cluster answers at `address`, or Ray does not start here.
    """
    _quiet_environment(debug)
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(address)
    options: dict[str, Any] = {"log_to_driver": debug, "logging_level": logging.INFO if debug else logging.ERROR}
    if address == "local":
        for name, value in LOCAL_SETTINGS.items():
            os.environ.setdefault(name, value)
        options |= {"include_dashboard": False, "object_store_memory": _object_store_bytes()}
    # ray.init mostly waits for processes to come up; meanwhile the driver can load what it needs next.
    threading.Thread(target=importlib.import_module, args=("ray.data",), daemon=True).start()
    with _on_loopback() if address == "local" else nullcontext():
        try:
            with nullcontext() if debug else _held_back_stderr():
                ray.init(address=address, **options)
        except Exception as error:  # Ray has no error of its own for this
            raise (_not_started(error) if address == "local" else _unreachable(address, error)) from error
        try:
            with stop_on_signals():  # Ray has put a handler of its own in place
                yield
        finally:
            ray.shutdown()


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


def data_context(debug: bool = False) -> None:
    """Ray Data's settings for our pipelines: our own progress lines, no dropped blocks unseen, no silent hang."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = debug
    context.execution_no_progress_timeout_s = STANDSTILL_SECONDS
    # A shard whose process dies again and again costs itself, not the job: what is missing is found by the plan.
    context.max_errored_blocks = -1
    context.max_consecutive_actor_init_deaths = 2
    if not debug:
        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks")


def _check_reachable(address: str) -> None:
    """Raise ResourceError if nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> ResourceError:
    return ResourceError(
        f"cannot reach Ray at {address!r}: {error}",
        "check --address / RAY_ADDRESS (`ray status` there), or leave both out to run on this machine",
    )


def _not_started(error: Exception) -> ResourceError:
    folder = os.environ.get("RAY_TMPDIR") or "/tmp"
    free = human_bytes(shutil.disk_usage(folder).free) if os.path.isdir(folder) else "nothing"
    return ResourceError(
        f"Ray did not start on this machine: {reason_of(error)}",
        f"look whether memory, CPUs and the disk of {folder} ({free} free; RAY_TMPDIR names another) have room for it; "
        f"its logs are in {folder}/ray/session_latest/logs",
    )


class _StopHandler:
    """A signal handler that raises `Stopped`, and remembers that it was asked to."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_: object) -> None:
        self.asked = True
        raise Stopped


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into `Stopped`, so that a stopped job closes its pipeline and says how to go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _StopHandler()
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def raise_if_stopped() -> None:
    """Raise `Stopped` again if a signal asked for it: libraries may swallow what a handler raises in their midst."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, _StopHandler) and handler.asked:
        raise Stopped


@contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Keep what is written to file descriptor 2, Ray's native part included, and show it only if the block raises."""
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)


def _quiet_environment(debug: bool) -> None:
    if not debug:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")


def _object_store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(80 << 20, min(_LOCAL_OBJECT_STORE, memory // 5))
