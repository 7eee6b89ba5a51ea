"""Progress of a long run: one live line in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from st_ray.core.summary import human_seconds

LOG_EVERY_SECONDS = 10.0
_LIVE_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands: rows and tokens in this run so far, committed shards in all, seconds since work began."""

    rows: float
    tokens: float
    shards: int
    seconds: float


class Progress:
    """Prints progress to standard error from a thread of its own while the `with` block runs.

    Args:
        line: what there is to say now.
    """

    def __init__(self, line: Callable[[], str], stream: TextIO | None = None) -> None:
        self._line = line
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._show()
        if self._live:
            print(file=self._stream)

    def _loop(self) -> None:
        while not self._stop.wait(_LIVE_EVERY_SECONDS if self._live else LOG_EVERY_SECONDS):
            self._show()

    def _show(self) -> None:
        line = self._line()
        print(f"\r\x1b[2K{line}" if self._live else line, end="" if self._live else "\n", file=self._stream, flush=True)


def progress_line(label: str, now: Snapshot, rows: int, shards: int, noun: str = "rows") -> str:
    """`encode  12,000/100,000 rows (12%)  1,234 rows/s  22,345 tokens/s  3/20 shards  ETA 1m12s`."""
    done = min(now.rows, rows)
    head = f"{label}  {done:,.0f}/{rows:,} {noun} ({100 * done / max(rows, 1):.0f}%)"
    tail = f"{now.shards:,}/{shards:,} shards"
    if not now.seconds or not done:
        return f"{head}  starting  {tail}"
    rate, tokens = done / now.seconds, now.tokens / now.seconds
    left = human_seconds((rows - done) / rate)
    speed = f"{rate:,.0f} {noun}/s" + (f"  {tokens:,.0f} tokens/s" if tokens else "")
    return f"{head}  {speed}  {tail}  ETA {left}"
