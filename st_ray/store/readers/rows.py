"""Rows: ids, texts and values out of columns of cells, with a reason for each row that has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from st_ray.store.readers.records import mismatch, what_is_wrong
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.readers.values import value_array

_INT64 = range(-(2**63), 2**63)
_ID_KINDS = {str: "string", int: "int64"}


@dataclass(frozen=True)
class Cells:
    """What stands in the columns of consecutive rows of one file, before it is judged.

    Attributes:
        rows: how many.
        texts: a list of `rows` cells for each text column.
        ids: a cell a row; None where there is no id column.
        values: of each value column a list of `rows` cells, or an Arrow array of them.
        bad: index -> reason, for rows that are known to be broken; whatever their cells are.
    """

    rows: int
    texts: Sequence[list[Any]]
    ids: list[Any] | None
    values: Sequence[list[Any] | pa.Array]
    bad: dict[int, str]


@dataclass(frozen=True)
class RowBatch:
    """Consecutive rows of one file.

    Attributes:
        ids: a str or an int a row, None at bad rows; None where there is no id column.
        texts: one a row, None at bad rows.
        values: an array for each value column; what it holds at bad rows means nothing.
        bad: index -> reason.
        id_kind: string or int64; None where no id was seen yet.
    """

    ids: list[Any] | None
    texts: list[str | None]
    values: tuple[pa.Array, ...]
    bad: dict[int, str]
    id_kind: str | None

    def __len__(self) -> int:
        return len(self.texts)


def assemble(cells: Cells, spec: ReadSpec, kind: str | None) -> RowBatch:
    """The rows that these cells make.

    Args:
        cells: of the columns that `spec` names; where it names no text columns, texts are None.
        kind: what ids must be, string or int64; None: as the first good one is.
    """
    bad = dict(cells.bad)
    for name, texts in zip(spec.text_columns, cells.texts, strict=True):
        if not set(map(type, texts)) <= {str}:
            for index, value in enumerate(texts):
                if type(value) is not str:
                    bad.setdefault(index, f"column {name!r} {mismatch(value, 'string')}")
    values = tuple(value_array(column, part, bad) for column, part in zip(spec.values, cells.values, strict=True))
    if spec.check is not None:
        named = {column.name: array for column, array in zip(spec.values, values, strict=True) if column.kind != "text"}
        bad = {**spec.check(named), **bad}
    ids = cells.ids
    if ids is not None:
        kind = _check_ids(ids, bad, str(spec.id_column), kind)
        ids = _without(ids, bad)
    return RowBatch(ids, _join(cells.rows, cells.texts, bad, spec.separator), values, bad, kind)


def _join(rows: int, texts: Sequence[list[Any]], bad: dict[int, str], separator: str) -> list[str | None]:
    if not texts:
        return [None] * rows
    if len(texts) == 1:
        return _without(texts[0], bad)
    parts = [_without(values, bad, "") for values in texts] if bad else texts
    return _without([separator.join(row) for row in zip(*parts, strict=True)], bad)


def _without(values: list[Any], bad: dict[int, str], filler: Any = None) -> list[Any]:
    """`values` with `filler` at the bad rows."""
    if not bad:
        return values
    values = list(values)
    for index in bad:
        values[index] = filler
    return values


def _check_ids(ids: list[Any], bad: dict[int, str], name: str, kind: str | None) -> str | None:
    """Add to `bad` the rows whose id cannot be used; returns the kind of ids, which the first good one decides."""
    types = set(map(type, ids))
    if types == {str} and kind == "string":
        return kind
    if types == {int} and kind == "int64" and min(ids) in _INT64 and max(ids) in _INT64:
        return kind
    for index, value in enumerate(ids):
        if index in bad:
            continue
        reason = _not_an_id(name, value, kind)
        if reason:
            bad[index] = reason
        else:
            kind = _ID_KINDS[type(value)]
    return kind


def _not_an_id(name: str, value: Any, kind: str | None) -> str:
    """Why `value` is no id of this kind; empty where it is one."""
    if type(value) not in _ID_KINDS:
        return f"id column {name!r} {what_is_wrong(value)}: neither string nor integer"
    if type(value) is int and value not in _INT64:
        return f"id column {name!r} holds {value}, which does not fit into 64 bits"
    if kind is not None and _ID_KINDS[type(value)] != kind:
        return f"id column {name!r} {what_is_wrong(value)}, where the rows before hold {kind}"
    return ""
