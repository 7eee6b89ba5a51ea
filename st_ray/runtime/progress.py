"""Progress of a long run: one live line in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from st_ray.core.summary import human_seconds
from st_ray.runtime.log import Line, current_log

LOG_EVERY_SECONDS = 10.0
_LIVE_EVERY_SECONDS = 0.5
_ASK_EVERY_SECONDS = 1.0


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
        line: what there is to say now; asked about once a second, though it is said less often, and once at the end.
    """

    def __init__(self, line: Callable[[], Line], stream: TextIO | None = None) -> None:
        self._line = line
        self._log = current_log()
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
        self._show(self._line())
        if self._live:
            print(file=self._stream)

    def _loop(self) -> None:
        every = _LIVE_EVERY_SECONDS if self._live else LOG_EVERY_SECONDS
        shown = time.monotonic()
        while not self._stop.wait(min(every, _ASK_EVERY_SECONDS)):
            line = self._line()
            if time.monotonic() - shown >= every:
                shown = time.monotonic()
                self._show(line)

    def _show(self, line: Line) -> None:
        if self._log.as_json:
            self._log.tell("progress", line.text, **line.figures)
        elif self._live:
            print(f"\r\x1b[2K{line.text}", end="", file=self._stream, flush=True)
        else:
            print(line.text, file=self._stream, flush=True)


def progress_line(label: str, now: Snapshot, rows: int, shards: int, noun: str = "rows") -> Line:
    """`encode  12,000/100,000 rows (12%)  1,234 rows/s  22,345 tokens/s  3/20 shards  ETA 1m12s`, and its figures."""
    done = min(now.rows, rows)
    figures: dict[str, Any] = {"stage": label, "noun": noun, "rows": round(done), "rows_total": rows}
    figures |= {"shards": now.shards, "shards_total": shards}
    head = f"{label}  {done:,.0f}/{rows:,} {noun} ({100 * done / max(rows, 1):.0f}%)"
    tail = f"{now.shards:,}/{shards:,} shards"
    if not now.seconds or not done:
        return Line(f"{head}  starting  {tail}", figures)
    rate, tokens = done / now.seconds, now.tokens / now.seconds
    left = (rows - done) / rate
    figures |= {"rate": round(rate, 1), "eta_seconds": round(left, 1)}
    speed = f"{rate:,.0f} {noun}/s"
    if tokens:
        figures["tokens_per_second"] = round(tokens, 1)
        speed += f"  {tokens:,.0f} tokens/s"
    return Line(f"{head}  {speed}  {tail}  ETA {human_seconds(left)}", figures)
