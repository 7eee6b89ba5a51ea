"""JSON lines: one JSON object a line; blank lines are no records."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from st_ray.store.readers.records import Records, Unusable, has_utf8, line_starts, type_name, undecodable, whole_lines

# Two escapes make one character outside the basic plane; one alone makes a string that has no UTF-8.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_MISSING = Unusable("is missing")
_LONE_SURROGATE = Unusable("holds half a surrogate pair, which is no text")


class JsonLines:
    """JSON lines. A record is a dict; a broken one an empty dict."""

    typed: ClassVar[bool] = True

    def split(self, data: bytes, final: bool) -> Records:
        """See `TextFormat.split`."""
        body = whole_lines(data, final)
        starts = line_starts(body)
        bad: dict[int, str] = {}
        try:
            values = _all_at_once(body.decode().replace("\r\n", "\n").split("\n")[: len(starts)])
        except (ValueError, RecursionError):
            values, starts, bad = _one_by_one(body, starts)
        if not set(map(type, values)) <= {dict}:
            for index, value in enumerate(values):
                if type(value) is not dict:
                    bad[index] = f"a JSON value of type {type_name(value)}, not an object"
                    values[index] = {}
        return Records(values, starts, len(body), bad, data)

    def column(self, records: Records, name: str) -> list[Any]:
        """See `TextFormat.column`."""
        values = [record.get(name, _MISSING) for record in records.values]
        if _SURROGATE_ESCAPE.search(records.data):
            values = [_LONE_SURROGATE if type(value) is str and not has_utf8(value) else value for value in values]
            if {list, dict} & set(map(type, values)):
                values = [_LONE_SURROGATE if _holds_half_a_pair(value) else value for value in values]
        return values


def keys(objects: Sequence[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """(key, type) of all keys in these objects, in order of appearance.

    A string anywhere makes it a string; null says nothing where there is another type.
    """
    found: dict[str, str] = {}
    for record in objects:
        for key, value in record.items():
            if key not in found or (found[key] != "string" and value is not None):
                found[key] = type_name(value)
    return tuple(found.items())


def _holds_half_a_pair(value: Any) -> bool:
    """Whether it is a list, or an object of lists, with a string that has no UTF-8."""
    if type(value) is dict:
        return any(not has_utf8(name) or _holds_half_a_pair(part) for name, part in value.items())
    return type(value) is list and any(type(part) is str and not has_utf8(part) for part in value)


def _all_at_once(lines: list[str]) -> list[Any]:
    """The values of lines that hold one each and nothing else; ValueError where one does not.

    `raw_decode` is what `json.loads` calls, without its checks on each call: more than twice as fast on short lines.
    """
    decode = json.JSONDecoder().raw_decode
    pairs = [decode(line) for line in lines]
    if [end for _, end in pairs] != list(map(len, lines)):
        raise ValueError("there is more on a line than one value")
    return [value for value, _ in pairs]


def _one_by_one(body: bytes, starts: np.ndarray) -> tuple[list[Any], np.ndarray, dict[int, str]]:
    """Values, starts and reasons of a block that holds blank or broken lines."""
    values: list[Any] = []
    kept: list[int] = []
    bad: dict[int, str] = {}
    for start, line in zip(starts.tolist(), body.split(b"\n"), strict=False):
        if not line.strip():
            continue
        kept.append(start)
        try:
            values.append(json.loads(line.decode()))
            continue
        except UnicodeDecodeError as error:
            bad[len(values)] = undecodable(error)
        except json.JSONDecodeError as error:
            bad[len(values)] = f"not valid JSON: {error.msg}, at character {error.pos + 1}"
        except (ValueError, RecursionError) as error:
            bad[len(values)] = f"not valid JSON: {error}"
        values.append({})
    return values, np.array(kept, dtype=np.int64), bad
