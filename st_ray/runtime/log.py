"""What a job tells on its way: text for people, or with `--log-format json` one object a line for programs."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TextIO


@dataclass(frozen=True)
class Line:
    """Something to tell: the text, and the figures that it is made of."""

    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Log:
    """How the job of this process tells of itself.

    Attributes:
        job: what runs, e.g. `encode`; empty where no command does.
        output: last name of the folder that it makes.
        as_json: objects in place of text.
    """

    job: str = ""
    output: str = ""
    as_json: bool = False

    def tell(self, event: str, text: str | None, *, level: str = "info", summary: bool = False, **figures: Any) -> None:
        """Write `text`, or an object with the figures, whose `message` is the text unless they have one.

        Args:
            event: what kind of line it is.
            text: None for what only programs are told.
            level: `info`, `warning` or `error`.
            summary: a result, for standard output in place of standard error.
        """
        if self.as_json:
            about = {"ts": _now(), "level": level, "event": event, "job": self.job, "message": text}
            text = json.dumps(_finite({**about, **figures}), default=str)
        if text is not None:
            # In one piece: threads tell things too.
            print(f"{text}\n", end="", file=sys.stdout if summary else _standard_error(), flush=True)


_log: ContextVar[Log] = ContextVar("log", default=Log())  # noqa: B039, it is frozen


def current_log() -> Log:
    """That of the job which runs here; plain text where none was named."""
    return _log.get()


@contextlib.contextmanager
def logging_as(log: Log) -> Iterator[None]:
    """Let `current_log` be `log`. As JSON, what libraries write to standard error meanwhile becomes objects too."""
    token = _log.set(log)
    strays = _Strays(log, _standard_error()) if log.as_json else None
    try:
        with contextlib.redirect_stderr(strays) if strays else contextlib.nullcontext():
            yield
    finally:
        _log.reset(token)
        if strays:
            strays.end()


class _Strays(io.TextIOBase):
    """Stands in for standard error: makes an object of each line that somebody else writes there."""

    def __init__(self, log: Log, stream: TextIO) -> None:
        self.stream = stream
        self._log = log
        self._held = ""
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._held = (self._held + text).split("\n")
        for line in lines:
            self._tell(line)
        return len(text)

    def end(self) -> None:
        """What has no end of line is a line too."""
        self.write("\n")

    def _tell(self, line: str) -> None:
        shown = line.rstrip().rpartition("\r")[2]  # of a progress bar, what stands there at the end
        if shown:
            self._log.tell("stderr", shown, level="warning")


def _standard_error() -> TextIO:
    return sys.stderr.stream if isinstance(sys.stderr, _Strays) else sys.stderr


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _finite(value: Any) -> Any:
    """The value with None for numbers that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
