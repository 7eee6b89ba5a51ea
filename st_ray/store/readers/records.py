"""Records: what a block of a text file holds once it is cut at record boundaries. Plain text is the simplest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

MAX_RECORD_BYTES = 64 << 20
PLAIN_COLUMN = "text"
_TYPE_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}


@dataclass(frozen=True)
class Unusable:
    """Stands in a column for a value that is none, with the reason."""

    reason: str


@dataclass(frozen=True)
class Records:
    """The whole records at the beginning of a block of bytes.

    Attributes:
        values: one parsed record each; a placeholder where it is broken.
        starts: [n] int64, the offset of each record in `data`.
        used: how many bytes of `data` the records take; what is behind them belongs to the next block.
        bad: index -> reason, for records that are broken.
        data: the block.
    """

    values: list[Any]
    starts: np.ndarray
    used: int
    bad: dict[int, str]
    data: bytes

    def __len__(self) -> int:
        return len(self.values)

    def slice(self, first: int, last: int) -> Records:
        """Records [first, last). `starts` and `used` still refer to `data`."""
        if first == 0 and last == len(self):
            return self
        used = self.used if last == len(self) else int(self.starts[last])
        bad = {index - first: reason for index, reason in self.bad.items() if first <= index < last}
        return Records(self.values[first:last], self.starts[first:last], used, bad, self.data)


class TextFormat(Protocol):
    """How a text format is cut into records, and how a column is taken out of them.

    Attributes:
        typed: whether values have types of their own; otherwise all of them are strings.
    """

    typed: ClassVar[bool]

    def split(self, data: bytes, final: bool) -> Records:
        """The records in `data`; `final`: nothing comes behind it, so that the last record ends with it."""
        ...

    def column(self, records: Records, name: str) -> list[Any]:
        """One value a record: what stands there, or an Unusable."""
        ...


def line_starts(data: bytes) -> np.ndarray:
    """Offsets [lines] int64 at which the lines of `data` begin; a newline at the end begins no further line."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    return starts[starts < len(data)]


def whole_lines(data: bytes, final: bool) -> bytes:
    """`data` up to the end of its last complete line; all of it if `final`."""
    return data if final else data[: data.rfind(b"\n") + 1]


class PlainLines:
    """Plain text: one record a line, blank lines too (so that parallel files stay aligned), in one PLAIN_COLUMN."""

    typed: ClassVar[bool] = False

    def split(self, data: bytes, final: bool) -> Records:
        """See `TextFormat.split`."""
        body = whole_lines(data, final)
        starts = line_starts(body)
        bad: dict[int, str] = {}
        try:
            lines = body.decode().split("\n")[: len(starts)]
        except UnicodeDecodeError:
            lines = []
            for index, line in enumerate(body.split(b"\n")[: len(starts)]):
                try:
                    lines.append(line.decode())
                except UnicodeDecodeError as error:
                    bad[index] = undecodable(error)
                    lines.append("")
        if b"\r" in body:
            lines = [line[:-1] if line.endswith("\r") else line for line in lines]
        return Records(lines, starts, len(body), bad, data)

    def column(self, records: Records, name: str) -> list[Any]:
        """See `TextFormat.column`."""
        return records.values


def has_utf8(text: str) -> bool:
    """Whether `text` can be written as UTF-8: a half of a surrogate pair, alone, cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def undecodable(error: UnicodeDecodeError) -> str:
    """The reason given for bytes that are no UTF-8."""
    return f"not valid UTF-8: byte 0x{error.object[error.start]:02x} ({error.reason})"


def type_name(value: Any) -> str:
    """A value's type in JSON's own words."""
    return "null" if value is None else _TYPE_NAMES.get(type(value), type(value).__name__)


def what_is_wrong(value: Any) -> str:
    """What is wrong with a value of another type than was expected: the verb and all behind it."""
    if isinstance(value, Unusable):
        return value.reason
    if value is None:
        return "is null"
    return f"is of type {type_name(value)}"


def mismatch(value: Any, expected: str) -> str:
    """`what_is_wrong`, and what was expected where that says something: `is of type integer, not string`."""
    says_enough = value is None or isinstance(value, Unusable)
    return what_is_wrong(value) if says_enough else f"{what_is_wrong(value)}, not {expected}"
