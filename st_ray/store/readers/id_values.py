"""Value columns of ids: strings or integers, of which the text counts; one a row, a list, or lists that have names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.store.readers.cells import column_values
from st_ray.store.readers.records import mismatch, type_name
from st_ray.store.readers.spec import ValueColumn

ID_TYPES = {
    "id": pa.string(),
    "ids": pa.list_(pa.string()),
    "id lists": pa.map_(pa.string(), pa.list_(pa.string())),
}
_PLAIN = {str, int}


def id_array(column: ValueColumn, cells: list[Any] | pa.Array, bad: dict[int, str]) -> pa.Array:
    """The column's values, one a cell, of the type in `ID_TYPES`; what stands at bad rows means nothing.

    Args:
        cells: as the file has them; a column of a table holds no lists.
        bad: index -> reason; rows whose cell cannot be used are added.
    """
    if isinstance(cells, pa.Array):
        with contextlib.suppress(pa.ArrowException):
            cells.validate(full=True)
            array = cells.cast(pa.string())
            if not array.null_count:
                return array
        cells = column_values(cells)
    fault, make, nothing = _KINDS[column.kind]
    for index, cell in enumerate(cells):
        if index not in bad and (reason := fault(cell)):
            bad[index] = f"column {column.name!r} {reason}"
    return make([nothing if index in bad else cell for index, cell in enumerate(cells)] if bad else cells)


def _id_fault(cell: Any) -> str:
    return "" if type(cell) in _PLAIN else mismatch(cell, "string or integer")


def _list_fault(cell: Any) -> str:
    if type(cell) is not list:
        return mismatch(cell, "a list of ids")
    if set(map(type, cell)) <= _PLAIN:
        return ""
    other = next(part for part in cell if type(part) not in _PLAIN)
    return f"holds a list with a value of type {type_name(other)}, not a list of ids"


def _lists_fault(cell: Any) -> str:
    if type(cell) is not dict:
        return mismatch(cell, "an object of lists of ids")
    faults = ((name, _list_fault(part)) for name, part in cell.items())
    return next((f"has {name!r}, which {fault}" for name, fault in faults if fault), "")


def _ids(cells: Sequence[Any]) -> pa.Array:
    return pa.array([*map(str, cells)], pa.string())


def _lists(cells: Sequence[Sequence[Any]]) -> pa.Array:
    return pa.ListArray.from_arrays(_offsets(cells), _ids([*chain.from_iterable(cells)]))


def _named_lists(cells: Sequence[dict[str, Any]]) -> pa.Array:
    names = pa.array([*chain.from_iterable(cells)], pa.string())
    return pa.MapArray.from_arrays(
        _offsets(cells), names, _lists([*chain.from_iterable(cell.values() for cell in cells)])
    )


def _offsets(cells: Sequence[Any]) -> pa.Array:
    return pa.array(np.cumsum([0, *map(len, cells)]), pa.int32())


_KINDS: dict[str, tuple[Callable[[Any], str], Callable[[Any], pa.Array], Any]] = {
    "id": (_id_fault, _ids, ""),
    "ids": (_list_fault, _lists, []),
    "id lists": (_lists_fault, _named_lists, {}),
}
