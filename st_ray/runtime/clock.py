"""Where the seconds of a start go."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Laps:
    """Seconds by name, from the moment this is made.

    Attributes:
        seconds: of each name so far.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def end(self, name: str) -> None:
        """What has passed since the last lap ended was `name`."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 2)
        self._last = now


def process_seconds() -> float:
    """For how long this process has been running; 0 where the system does not tell."""
    try:
        # Field 22 of stat, counted after the parenthesised name, which may hold spaces.
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
