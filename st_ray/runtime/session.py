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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from st_ray.core.errors import ResourceError, reason_of
from st_ray.core.summary import human_bytes
from st_ray.runtime import own_ray

STANDSTILL_SECONDS = 6 * 3600.0
"""After which a pipeline gives up in which nothing moves. What moves are whole shards, which may well take an hour."""


class Stopped(KeyboardInterrupt):
    """The job was asked to stop, by SIGTERM or Ctrl-C."""


@contextmanager
def ray_session(address: str | None = None, *, debug: bool = False) -> Iterator[None]:
    """Join the cluster at `address` (or `RAY_ADDRESS`), else start Ray on this machine; leave or stop it afterwards.

    Workers stand in the folder of this process, so that relative paths are the same places for all. A session that is
    already open is used as it is and left open.

    Raises:
        ResourceError: no cluster answers at `address`, or Ray does not start here.
    """
    _quiet_environment(debug)
    import ray

    from st_ray.runtime.meter import forget_meters

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(address)
    options: dict[str, Any] = {"log_to_driver": debug, "logging_level": logging.INFO if debug else logging.ERROR}
    alone = address == "local"
    if alone:
        options |= {"include_dashboard": False, "object_store_memory": own_ray.object_store_bytes()}
    elif not address.startswith("ray://"):  # whose client takes no functions
        options["runtime_env"] = {"worker_process_setup_hook": _entering(os.getcwd())}
    # ray.init mostly waits for processes to come up; meanwhile the driver can load what it needs next.
    threading.Thread(target=importlib.import_module, args=("ray.data",), daemon=True).start()
    try:
        with own_ray.starting(with_logs=debug) if alone else nullcontext(), _held_back_stderr(unless=debug):
            ray.init(address=address, **options)
    except Exception as error:  # Ray has no error of its own for this
        raise (_not_started(error) if alone else _unreachable(address, error)) from error
    try:
        # Ray has put a handler of its own in place.
        with stop_on_signals(), own_ray.without_data_helpers() if alone else nullcontext():
            yield
    finally:
        if not alone:
            forget_meters()
        ray.shutdown()


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


def _entering(folder: str) -> Callable[[], None]:
    """What a worker of a cluster does first: it goes into `folder`, or stays where Ray was started if there is none."""

    def enter() -> None:  # within another, it is sent whole: this module need not be there yet
        with suppress(OSError):
            os.chdir(folder)

    return enter


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
def _held_back_stderr(unless: bool) -> Iterator[None]:
    """Keep what is written to file descriptor 2, Ray's native part included, and show it only if the block raises."""
    if unless:
        yield
        return
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
