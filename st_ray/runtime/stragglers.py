"""A stage that does not get on: which shards hold it up, and where they are worked on."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from st_ray.core.summary import human_seconds
from st_ray.runtime.at_work import WAIT, AtWork, at_work
from st_ray.runtime.log import current_log

LEAST_SECONDS = 120.0
"""Without a commit, before anybody is asked; the longer the shards, the later: TIMES as long as one takes."""
FIRST_SECONDS = 600.0
"""The same before the first commit: workers start, and models are fetched and loaded."""
TIMES = 10
_TICK_SECONDS = 2.0
_SHOWN = 5


class Commits(Protocol):
    """What a stage has done."""

    @property
    def committed(self) -> int:
        """Shards that this run has committed."""

    def seconds(self) -> Sequence[float]:
        """Of work on each shard that is done, those of earlier runs too."""


class Watch:
    """Says on standard error which shards are overdue, from a thread of its own while the `with` block runs.

    While shards are committed nobody is asked, so that watching costs nothing; and where none is, ever more rarely, so
    that it keeps no idle machine from being given back.

    Args:
        label: of the stage.
        output: folder of its parts.
        commits: asked from time to time.
        describe: what to call the input of a part.
    """

    def __init__(
        self,
        label: str,
        output: str,
        commits: Commits,
        describe: Callable[[str], str],
    ) -> None:
        self._label, self._output, self._commits, self._describe = label, output, commits, describe
        self._log = current_log()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="stragglers", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        count, since, due = -1, 0.0, 0.0
        while not self._stop.wait(_TICK_SECONDS):
            now = time.monotonic()
            if self._commits.committed != count:
                count, since, due = self._commits.committed, now, now + LEAST_SECONDS
            elif now >= due:
                took = self._commits.seconds()
                due = since + patience(took, count > 0)
                if now >= due:
                    self._show(now - since, took)
                    due = now + (now - since)

    def _show(self, seconds: float, took: Sequence[float]) -> None:
        found = at_work(self._output)
        if self._stop.is_set():
            return
        lines = warning(self._label, seconds, took, found, self._describe)
        # A line of progress may stand there, without an end.
        lead = "\r\x1b[2K" if sys.stderr.isatty() and not self._log.as_json else ""
        self._log.tell("overdue", lead + "\n".join(lines), level="warning", stage=self._label, seconds=round(seconds))


def patience(took: Sequence[float], begun: bool) -> float:
    """Seconds without a commit that are nothing special.

    Args:
        took: seconds of work on each shard so far.
        begun: whether this run has committed any.
    """
    usual = TIMES * statistics.median(took) if took else 0.0
    return max(LEAST_SECONDS if begun else FIRST_SECONDS, usual)


def warning(
    label: str, seconds: float, took: Sequence[float], found: Sequence[AtWork], describe: Callable[[str], str]
) -> list[str]:
    """The lines to show."""
    usual = f" (one takes {human_seconds(max(1.0, statistics.median(took)))})" if took else ""
    head = f"{label}: no shard was committed for {human_seconds(seconds)}{usual}"
    if not found:
        return [f"{head}; none is worked on: workers start, or wait for room in the cluster (`ray status`)"]
    kill = f"a process that hangs can be killed there (`kill -9 {found[0].process}`), its work is done again"
    if found[0].step == WAIT:
        kill = "an actor that they wait for waits for room, or is on a machine that does not answer (`ray status`)"
    remedy = f"  -> {kill}; or stop the job, and run the same command again"
    return [f"{head}; worked on are", *(f"  {line}" for line in overdue_lines(found, describe)), remedy]


def overdue_lines(found: Sequence[AtWork], describe: Callable[[str], str]) -> list[str]:
    """A line for each of the first few."""
    lines = [f"{one.part} ({describe(one.part)}): {one}" if one.part else str(one) for one in found[:_SHOWN]]
    return lines if len(found) <= _SHOWN else [*lines, f"and {len(found) - _SHOWN} more"]
