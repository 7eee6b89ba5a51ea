"""What a worker is at stands in its title: `ps` shows it, and it can be read of a process that hangs.

ray::encode part-00012.parquet since 2026-11-22T10:04:31+00:00 of s3://bucket/embeddings
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from st_ray.core.summary import human_seconds

_TITLE = re.compile(r"ray::(?P<step>.+) (?P<part>\S+) since (?P<since>\S+) of (?P<output>.+)")
_STATES = {
    "T": "is stopped (SIGSTOP)",
    "t": "is stopped by a debugger",
    "D": "waits for a disk or a network file system",
}
"""Of the kernel's letters, those that tell why nothing happens."""
_ANSWER_SECONDS = 30.0
_STOPPED = "Tt"
WAIT = "wait for actors"
"""The step of who has handed a shard on: what holds it up is another process."""

Place = tuple[str, str]
"""A part, and the output that it is of."""


@dataclass(frozen=True)
class AtWork:
    """A process that works on a shard, or one that is stopped before it does.

    Attributes:
        machine: name of its host.
        part: of the shard; empty for a process that is at none.
        step: what it does with the shard.
        seconds: for how long.
        state: why nothing happens, if that shows.
    """

    machine: str
    process: int
    part: str
    step: str
    seconds: float
    state: str = ""

    def __str__(self) -> str:
        """For errors, without the part."""
        state = f", which {self.state}" if self.state else ""
        lasts = f" for {human_seconds(self.seconds)}" if self.part else ""
        return f"{self.step}{lasts}, in process {self.process} on {self.machine}{state}"


@contextmanager
def titled(step: str, part: str, output: str) -> Iterator[None]:
    """While the block runs, this process's title says what it is at: of several threads, what began first."""
    with _titles_lock:
        if not _titles:
            _idle_title.append(ray._raylet.getproctitle())
        own = _titles.setdefault(threading.get_ident(), [])
        own.append((step, part, output, time.time()))
        _show_title()
    try:
        yield
    finally:
        with _titles_lock:
            own.pop()
            if not own:
                del _titles[threading.get_ident()]
            _show_title()


_titles_lock = threading.Lock()
_titles: dict[int, list[tuple[str, str, str, float]]] = {}
"""What each thread is at, and within that; in the order in which they began."""
_idle_title: list[str] = []


def _show_title() -> None:
    title = _title(*next(iter(_titles.values()))[-1]) if _titles else _idle_title.pop()
    ray._raylet.setproctitle(title)


def asked(step: str, place: Place | None) -> AbstractContextManager[None]:
    """In an actor: `titled`, where who asks is at a shard."""
    return nullcontext() if place is None else titled(step, *place)


@contextmanager
def asking() -> Iterator[Place | None]:
    """While the block runs, this thread waits for actors, and the title says so; gives the shard that it is at."""
    own = _titles.get(threading.get_ident())
    if not own:
        yield None
        return
    place = own[-1][1:3]
    with titled(WAIT, *place):
        yield place


def at_work(output: str) -> list[AtWork]:
    """All processes of the cluster that work on a shard of `output`, or are stopped and at none.

    Those that are stopped come first, then who works for longest; last who waits for others.

    A machine that does not answer within seconds is left out; all are, where the cluster is gone.
    """
    try:
        return sorted(_ask_machines(output), key=lambda one: (one.step == WAIT, not one.state, -one.seconds))
    except (ray.exceptions.RayError, ConnectionError):
        return []


def _ask_machines(output: str) -> list[AtWork]:
    # Nodes can share a machine.
    nodes = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
    look = ray.remote(processes)
    there = (NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes.values())
    refs = [look.options(num_cpus=0, max_retries=0, scheduling_strategy=strategy).remote(output) for strategy in there]
    ready, late = ray.wait(refs, num_returns=len(refs), timeout=_ANSWER_SECONDS)
    for ref in late:
        ray.cancel(ref)
    found: list[AtWork] = []
    for ref in ready:
        try:
            found += ray.get(ref)
        except ray.exceptions.RayError:  # the machine has gone meanwhile
            continue
    return found


def processes(output: str, proc: str = "/proc") -> Sequence[AtWork]:
    """Those of this machine; none where the system has no /proc."""
    found = (_process(folder, output) for folder in Path(proc).glob("[0-9]*"))
    return [one for one in found if one is not None]


def _process(folder: Path, output: str) -> AtWork | None:
    """What is known of a process, unless it is of no interest."""
    try:
        title = (folder / "cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
        # The letter stands behind the parenthesised name, which may hold spaces.
        letter = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        found = _read_title(title)
        since = datetime.fromisoformat(found["since"]).timestamp() if found else 0.0
    except (OSError, IndexError, ValueError):  # it has just ended
        return None
    machine, process, state = socket.gethostname(), int(folder.name), _STATES.get(letter, "")
    if found is None:
        # Whoever asks it waits for ever.
        idle = title.startswith("ray::") and letter in _STOPPED
        return AtWork(machine, process, "", title, 0.0, state) if idle else None
    seconds = max(0.0, time.time() - since)
    return AtWork(machine, process, found["part"], found["step"], seconds, state) if found["output"] == output else None


def _title(step: str, part: str, output: str, since: float) -> str:
    moment = datetime.fromtimestamp(since, timezone.utc).isoformat(timespec="seconds")
    return f"ray::{step} {part} since {moment} of {output}"


def _read_title(title: str) -> dict[str, str] | None:
    found = _TITLE.fullmatch(title)
    return found.groupdict() if found else None
