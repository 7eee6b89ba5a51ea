"""Value columns: their cells become one typed Arrow array, all at once where nothing is wrong, else one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.store.readers.cells import column_values
from st_ray.store.readers.id_values import ID_TYPES, id_array
from st_ray.store.readers.records import Unusable, mismatch, type_name
from st_ray.store.readers.spec import ValueColumn

ARROW_TYPES = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "number": pa.float64(),
    "numbers": pa.list_(pa.float64()),
    "class": pa.int64(),
    **ID_TYPES,
}
# What pyarrow turns into those types as it is; a truncated 2.5 and the letters of a string are not wanted.
_PLAIN_TYPES: dict[str, set[type]] = {
    "text": {str},
    "texts": {list},
    "number": {int, float, bool},
    "numbers": {list},
    "class": {int},
}
_CONVERTERS: dict[str, Any] = {
    "text": str,
    "texts": list,
    "number": float,
    "numbers": lambda cell: [float(part) for part in cell],
    "class": int,
}
_MAX_CLASSES = 2**63
_MAX_OFFSET = 2**31 - 1
_MAX_SHOWN = 40


def value_array(column: ValueColumn, cells: list[Any] | pa.Array, bad: dict[int, str]) -> pa.Array:
    """The column's values, one a cell; what stands at bad rows means nothing.

    Args:
        cells: as the file has them.
        bad: index -> reason; rows whose cell cannot be used are added.

    Raises:
        pyarrow.ArrowInvalid: an Arrow column is damaged.
    """
    if column.kind in ID_TYPES:
        return id_array(column, cells, bad)
    array = _all_at_once(column, cells) if isinstance(cells, pa.Array) or not bad else None
    if array is not None:
        return array
    cells = column_values(cells) if isinstance(cells, pa.Array) else cells
    for index, cell in enumerate(cells):
        if index not in bad and (reason := _fault(column, cell)):
            bad[index] = f"column {column.name!r} {reason}"
    convert = _CONVERTERS[column.kind]
    values = [None if index in bad else convert(cell) for index, cell in enumerate(cells)]
    return pa.array(values, ARROW_TYPES[column.kind])


def parse_numbers(texts: Sequence[str], kind: str) -> list[Any]:
    """The numbers that these strings spell; an Unusable for one that spells none."""
    parse = float if kind == "number" else _parse_class
    try:
        return [parse(text) for text in texts]
    except ValueError:
        return [_parse_or_say(parse, text) for text in texts]


def _parse_class(text: str) -> int | float:
    # Not by way of float, which has no exact number beyond 2^53.
    return int(text) if text.removeprefix("-").isdecimal() else float(text)


def _parse_or_say(parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        return Unusable(f"holds {_shortened(repr(text))}, not a number")


def _all_at_once(column: ValueColumn, cells: list[Any] | pa.Array) -> pa.Array | None:
    """The values, where all of them can be used; None where one by one must be looked at."""
    target = ARROW_TYPES[column.kind]
    try:
        if isinstance(cells, pa.Array):
            # Unnoticed, damage would be read out of bounds.
            cells.validate(full=True)
            array = cells.cast(target)
        elif (types := set(map(type, cells))) <= _PLAIN_TYPES[column.kind]:
            array = _array_of(cells, types, target)
        else:
            return None
    except (pa.ArrowException, OverflowError):
        return None
    return array if _is_fine(column, array) else None


def _array_of(cells: list[Any], types: set[type], target: pa.DataType) -> pa.Array:
    """What `pa.array` makes of cells of these types; that loads pandas first, which takes longer than a small file."""
    if types == {str}:
        texts = [cell.encode() for cell in cells]
        ends = np.cumsum([0, *map(len, texts)])
        if ends[-1] <= _MAX_OFFSET:
            parts = ends.astype(np.int32), b"".join(texts)
            return pa.StringArray.from_buffers(len(cells), *map(pa.py_buffer, parts))
    for kind, dtype in ((float, np.float64), (int, np.int64)):
        if types == {kind} and target == pa.from_numpy_dtype(dtype):
            return pa.Array.from_buffers(target, len(cells), [None, pa.py_buffer(np.array(cells, dtype))])
    return pa.array(cells, target)


def _is_fine(column: ValueColumn, array: pa.Array) -> bool:
    if array.null_count:
        return False
    if column.kind == "text":
        return True
    if column.kind in ("texts", "numbers"):
        array = array.flatten()
    if array.null_count or column.kind == "texts":
        return not array.null_count
    numbers = np.from_dlpack(array)
    if column.kind in ("number", "numbers"):
        return bool(np.isfinite(numbers).all())
    return bool(((numbers >= 0) & (numbers <= (column.classes or _MAX_CLASSES) - 1)).all())


def _fault(column: ValueColumn, cell: Any) -> str:
    """Why the cell cannot be used; empty where it can."""
    if column.kind == "text":
        return "" if type(cell) is str else mismatch(cell, "string")
    if column.kind == "texts":
        return _list_fault(cell)
    if column.kind == "numbers":
        return _numbers_fault(cell)
    if _is_no_number(cell):
        return mismatch(cell, "a number")
    return _number_fault(cell) if column.kind == "number" else _class_fault(cell, column.classes)


def _is_no_number(cell: Any) -> bool:
    return cell is None or isinstance(cell, str | list | dict | Unusable)


def _list_fault(cell: Any) -> str:
    if type(cell) is not list:
        return mismatch(cell, "a list of strings")
    others = [type_name(part) for part in cell if type(part) is not str]
    return f"holds a list with a value of type {others[0]}, not a list of strings" if others else ""


def _numbers_fault(cell: Any) -> str:
    if type(cell) is not list:
        return mismatch(cell, "a list of numbers")
    others = [type_name(part) for part in cell if _is_no_number(part)]
    if others:
        return f"holds a list with a value of type {others[0]}, not a list of numbers"
    return next(filter(None, map(_number_fault, cell)), "")


def _number_fault(cell: Any) -> str:
    try:
        number = float(cell)
    except OverflowError:
        return f"holds {_shortened(str(cell))}, which does not fit into 64 bits"
    return "" if np.isfinite(number) else f"holds {number}, not a finite number"


def _class_fault(cell: Any, classes: int | None) -> str:
    # nan and the infinities have no integer to be compared with.
    whole = cell.is_integer() if isinstance(cell, float) else cell == int(cell)
    if whole and int(cell) in range(classes or _MAX_CLASSES):
        return ""
    return f"holds {_shortened(str(cell))}, not {_class_range(classes)}"


def _class_range(classes: int | None) -> str:
    if classes is None:
        return f"a whole number from 0 to {_MAX_CLASSES - 1}"
    if classes == 1:
        return "0"
    return "0 or 1" if classes == 2 else f"one of 0 to {classes - 1}"


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
