"""One writer an output: a lock file with its owner and a heartbeat, on any file system or object store."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from st_ray.core.errors import OutputError, StRayError
from st_ray.store import fs

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 30.0
_AGAIN_SECONDS = 1.0
"""From a beat that failed to the next, and from one look at another job's lock to the next."""
_HELD: set[str] = set()
"""Tokens of the locks that this process holds: one that a store which was gone has kept is none of them."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        alive: whether it still runs; None where that cannot be told from here.
        since: when it took the lock, in seconds since the epoch; None where the lock does not say.
        beat: when it said so last, by its own clock; None where the lock does not say.
    """

    host: str
    pid: int
    alive: bool | None
    since: float | None
    beat: float | None


class OutputLock:
    """Holds `url` while the job runs; a context manager.

    A lock whose process is gone (same machine) is taken over at once. One from another machine is taken over when
    its heartbeat has not moved for `STALE_SECONDS` as seen from here, so clocks need not agree. Time in which the store
    does not answer does not count, since the owner waits for it as well. Heartbeats have connections of their own and
    few tries, so that they neither wait for the job's requests nor for long.

    Raises:
        OutputError: another running job holds the lock; the message says who.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost = False
        self._since = round(time.time(), 3)
        self._seen = 0.0

    @property
    def lost(self) -> bool:
        """True once another job has taken the lock from this one."""
        return self._lost

    def require_held(self, folder: str) -> None:
        """Raise OutputError, naming the output `folder`, where another job has taken the lock.

        Nobody can say where no beat has come through for as long as others wait: then the store is asked.

        Raises:
            StoreError: it does not answer.
        """
        if self._is_silent():
            self._look(brief=False)
        if self._lost:
            raise OutputError(f"another job took over {folder}; this one stopped", "run one job an output")

    def __enter__(self) -> OutputLock:
        _HELD.add(self._token)
        try:
            self._acquire()
        except BaseException:
            _HELD.discard(self._token)
            raise
        return self

    def _acquire(self) -> None:
        if not fs.create_exclusive(self._url, self._content(0)):
            self._take_over()
        self._seen = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="output-lock", daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        _HELD.discard(self._token)
        self._stop.set()
        if self._is_silent():
            return  # a store that is gone has had its say; the lock goes stale by itself
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError, StRayError):
            if not self._lost and (_read(self._url) or {}).get("token") == self._token:
                fs.remove(self._url)

    def _content(self, beat: int) -> bytes:
        owner = {"token": self._token, "beat": beat, "host": socket.gethostname(), **_process_identity(os.getpid())}
        times = {"since": self._since, "at": round(time.time(), 3)}
        return json.dumps({**owner, **times}).encode()

    def _beat(self) -> None:
        beat, wait = 0, HEARTBEAT_SECONDS
        while not self._stop.wait(wait):
            beat, wait = beat + 1, HEARTBEAT_SECONDS
            try:
                self._look(brief=True)
                if self._lost:
                    return
                fs.write_atomic(self._url, self._content(beat), brief=True)
            except (OSError, StRayError):
                wait = _AGAIN_SECONDS

    def _look(self, brief: bool) -> None:
        """See whose lock it is. One that has gone was taken by a job that has ended."""
        begun = time.monotonic()
        held = _read(self._url, brief)
        if held is None or held.get("token") != self._token:
            self._lost = True
        self._seen = begun

    def _is_silent(self) -> bool:
        """Whether nobody has seen the lock for so long that another job may have taken it."""
        return time.monotonic() - self._seen > STALE_SECONDS

    def _take_over(self) -> None:
        held = _read(self._url)
        if held is not None and not _is_stale(self._url, held):
            raise OutputError(
                f"another job is writing here: process {held.get('pid')} on {held.get('host')} holds {self._url}",
                "wait for it or stop it; a lock whose job has died is taken over by itself",
            )
        fs.write_atomic(self._url, self._content(0))
        time.sleep(0.5)
        held = _read(self._url)
        if held is None or held.get("token") != self._token:
            raise OutputError(f"another job took {self._url} at the same moment", "wait for it or stop it")


def owner_of(url: str) -> Owner | None:
    """Who holds the lock `url`, found out at once; None where nobody does.

    A process of this machine is looked up. One of another machine runs if its last heartbeat is fresh, for which the
    clocks must agree within some seconds.
    """
    held = _read(url)
    if held is None:
        return None
    beat = held.get("at")
    alive = None if beat is None else time.time() - beat <= STALE_SECONDS
    if _is_of_this_machine(held):
        alive = _is_running(held)
    return Owner(held.get("host", "?"), held.get("pid", -1), alive, held.get("since"), beat)


def _read(url: str, brief: bool = False) -> dict[str, Any] | None:
    try:
        return json.loads(fs.read_bytes(url, brief=brief))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}


def _is_stale(url: str, held: dict[str, Any]) -> bool:
    if _is_of_this_machine(held):
        return not _is_running(held)
    for _ in range(math.ceil(STALE_SECONDS / _AGAIN_SECONDS)):
        time.sleep(_AGAIN_SECONDS)
        if _read(url) != held:
            return False
    return True


def _is_of_this_machine(held: dict[str, Any]) -> bool:
    return held.get("host") == socket.gethostname() and held.get("boot") == _boot_id()


def _is_running(held: dict[str, Any]) -> bool:
    """Whether the process of this machine that took the lock still runs and has not given it up."""
    if held.get("pid") == os.getpid() and held.get("token") not in _HELD:
        return False
    return _process_identity(held.get("pid", -1)).get("started") == held.get("started")


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _process_identity(pid: int) -> dict[str, Any]:
    """pid, its start time (a reused pid differs) and the boot it belongs to; `started` is None for a dead process."""
    try:
        # Field 22 of stat, counted after the parenthesised name, which may hold spaces.
        started: Any = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = pid if not Path("/proc").exists() and _alive(pid) else None
    return {"pid": pid, "boot": _boot_id(), "started": started}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
