"""CSV and TSV, with the rules of Python's csv module: quoted fields may hold delimiters, quotes and newlines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from st_ray.store.readers.records import MAX_RECORD_BYTES, Records, has_utf8


@dataclass(frozen=True)
class Delimited:
    """Delimited records; blank lines are none.

    Quoting is strict: a quote that is never closed, or that is closed in the middle of a field, makes a broken
    record and not a text that silently lacks its quotes or swallows the lines below.

    Attributes:
        delimiter: one character.
        quotes: whether a double quote opens a quoted field.
        fields: the columns' names in order; a record with another number of fields is broken. Empty: not known.
    """

    typed: ClassVar[bool] = False

    delimiter: str
    quotes: bool = True
    fields: tuple[str, ...] = ()

    def split(self, data: bytes, final: bool) -> Records:
        """See `TextFormat.split`."""
        lines = data.splitlines(keepends=True)
        # Without the line feed, the line may go on, and a carriage return may be the first half of a line end.
        if lines and not final and not lines[-1].endswith(b"\n"):
            lines.pop()
        offsets = np.zeros(len(lines) + 1, dtype=np.int64)
        np.cumsum([len(line) for line in lines], out=offsets[1:])
        texts, undecodable = _decode(lines)
        values, first_lines, bad = self._parse(texts, final)
        bounds = offsets[np.array(first_lines, dtype=np.int64)]
        # A line behind the last whole record belongs to none yet.
        for index in np.searchsorted(bounds, offsets[undecodable], side="right").tolist():
            if index <= len(values):
                bad[index - 1] = "not valid UTF-8"
        if self.fields and not set(map(len, values)) <= {len(self.fields)}:
            self._mark_wrong_lengths(values, bad)
        return Records(values, bounds[:-1], int(bounds[-1]), bad, data)

    def column(self, records: Records, name: str) -> list[Any]:
        """See `TextFormat.column`."""
        index = self.fields.index(name)
        return [record[index] for record in records.values]

    def _parse(self, lines: list[str], final: bool) -> tuple[list[list[str]], list[int], dict[int, str]]:
        """Records, the line at which each begins and, last, the line behind them all, and broken ones' reasons."""
        # The limit belongs to the whole process; 128 KiB, the csv module's own, is less than some documents have.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
        ran_out = False

        def feed() -> Iterator[str]:
            nonlocal ran_out
            yield from lines
            ran_out = True

        rules: dict[str, Any] = {"quoting": csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE, "strict": True}
        reader = csv.reader(feed(), delimiter=self.delimiter, **rules)
        values: list[list[str]] = []
        first_lines: list[int] = []
        bad: dict[int, str] = {}
        line = 0
        while True:
            try:
                for record in reader:
                    if record:
                        values.append(record)
                        first_lines.append(line)
                    line = reader.line_num
                break
            except csv.Error as error:
                if ran_out and not final:
                    break
                bad[len(values)] = "a quoted field is never closed" if ran_out else f"malformed: {error}"
                values.append([])
                first_lines.append(line)
                line = reader.line_num
        first_lines.append(line)
        return values, first_lines, bad

    def _mark_wrong_lengths(self, values: list[list[str]], bad: dict[int, str]) -> None:
        expected = len(self.fields)
        for index, record in enumerate(values):
            if len(record) != expected:
                bad.setdefault(index, f"expected {expected} fields, found {len(record)}")
                values[index] = [""] * expected


def _decode(lines: list[bytes]) -> tuple[list[str], list[int]]:
    """The lines as text, and the numbers of those that are no UTF-8 (kept, so that records still end where they do)."""
    try:
        return [line.decode() for line in lines], []
    except UnicodeDecodeError:
        texts = [line.decode(errors="surrogateescape") for line in lines]
        return texts, [number for number, text in enumerate(texts) if not has_utf8(text)]
