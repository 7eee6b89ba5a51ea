"""Cells of Arrow columns as Python objects, for what must be looked at one by one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from st_ray.store.readers.records import Unusable


def column_values(array: pa.Array) -> list[Any]:
    """The column's values as Python objects: None for null, an Unusable for bytes that are no UTF-8.

    Raises:
        pyarrow.ArrowInvalid: the column is damaged; unnoticed, it would be read out of bounds.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        array.validate(full=True)
        return list(array.to_pylist())
    except pa.ArrowInvalid:
        array = array.view(_bytes_of(array.type))
        array.validate(full=True)
        return [_decode(value) for value in array.to_pylist()]


def is_list(kind: pa.DataType) -> bool:
    """Whether it is one of the types of lists that can be read."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _decode(value: Any) -> Any:
    """A string, or a list of strings, out of bytes."""
    try:
        if isinstance(value, list):
            return [None if part is None else part.decode() for part in value]
        return None if value is None else value.decode()
    except UnicodeDecodeError as error:
        return Unusable(f"is not valid UTF-8 ({error.reason})")


def _bytes_of(kind: pa.DataType) -> pa.DataType:
    """The type that holds the bytes of these strings, or of these lists of strings."""
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_bytes_of(kind.value_type), kind.list_size)
    if is_list(kind):
        make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
        return make(_bytes_of(kind.value_type))
    if pa.types.is_string_view(kind):
        return pa.binary_view()
    return pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
