"""Value columns of ids: the same text from every format, in lists and in lists that have names."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.store.readers import ReadSpec, ValueColumn, resolve_inputs
from st_ray.store.readers.id_values import ID_TYPES, id_array
from tests.store.readers.test_bad_rows import check
from tests.store.readers.writing import read_all, table_bytes

ID, IDS, LISTS = ValueColumn("id", "id"), ValueColumn("pos", "ids"), ValueColumn("neg", "id lists")


def ids_in(path: Path) -> list[str]:
    blocks, _ = read_all([path], spec_of(ID), 2)
    return [value for block in blocks for value in block.values[0].to_pylist()]


def spec_of(column: ValueColumn) -> ReadSpec:
    return ReadSpec(text_columns=("text",), values=(column,))


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        (ID, [1, "1", "", -7, "é", 2**70], ["1", "1", "", "-7", "é", str(2**70)]),
        (IDS, [[], [1, "a"], ["a", "b", "c"]], [[], ["1", "a"], ["a", "b", "c"]]),
        (LISTS, [{}, {"a": [1, 2], "b": []}, {"b": ["x"]}], [[], [("a", ["1", "2"]), ("b", [])], [("b", ["x"])]]),
    ],
)
@pytest.mark.parametrize("shard_rows", [1, 2, 9])
def test_json_cells(
    tmp_path: Path, column: ValueColumn, cells: list[Any], expected: list[Any], shard_rows: int
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": "x", column.name: cell}) + "\n" for cell in cells))
    blocks, (scanned,) = read_all([path], spec_of(column), shard_rows)
    assert scanned.bad_rows == 0
    assert [value for block in blocks for value in block.values[0].to_pylist()] == expected
    assert {block.values[0].type for block in blocks} == {ID_TYPES[column.kind]}


@pytest.mark.parametrize("extension", ["csv", "tsv", "tsv.gz"])
def test_ids_of_delimited_files(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    lines = "text,id\nx,5\nx,60\nx,07\n".replace(",", "," if extension == "csv" else "\t").encode()
    path.write_bytes(gzip.compress(lines) if extension.endswith("gz") else lines)
    assert ids_in(path) == ["5", "60", "07"]


@pytest.mark.parametrize("kind", [pa.int16(), pa.uint64(), pa.string(), pa.large_string()])
@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_ids_of_tables(tmp_path: Path, extension: str, kind: pa.DataType) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(table_bytes(extension, pa.table({"text": ["x"] * 3, "id": pa.array([5, 60, 7]).cast(kind)})))
    assert ids_in(path) == ["5", "60", "7"]


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        (ID, None, "column 'id' is null"),
        (ID, 1.5, "column 'id' is of type number, not string or integer"),
        (ID, True, "column 'id' is of type boolean, not string or integer"),
        (ID, "\ud83d", "column 'id' holds half a surrogate pair"),
        (IDS, 5, "column 'pos' is of type integer, not a list of ids"),
        (IDS, ["a", None], "column 'pos' holds a list with a value of type null, not a list of ids"),
        (IDS, [True], "column 'pos' holds a list with a value of type boolean, not a list of ids"),
        (LISTS, [1], "column 'neg' is of type array, not an object of lists of ids"),
        (LISTS, {"a": [1], "b": 2}, "column 'neg' has 'b', which is of type integer, not a list of ids"),
        (LISTS, {"a": [1, [2]]}, "column 'neg' has 'a', which holds a list with a value of type array"),
        (LISTS, {"a": ["\udc00"]}, "column 'neg' holds half a surrogate pair"),
        (LISTS, {"\udc00": []}, "column 'neg' holds half a surrogate pair"),
    ],
)
def test_bad_json_cells(tmp_path: Path, column: ValueColumn, cell: Any, reason: str) -> None:
    good: Any = {"id": "\U0001f600", "pos": [1, "\U0001f600"], "neg": {"\U0001f600": [1]}}[column.name]
    lines = [{"id": "a", "text": "x", column.name: value} for value in (good, good, cell, good)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    check(path, spec_of(column), 2, reason)


def test_nulls_and_types_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(table_bytes("parquet", pa.table({"text": ["x"] * 4, "id": pa.array([1, 2, None, 4])})))
    check(path, spec_of(ID), 2, "column 'id' is null")
    path.write_bytes(table_bytes("parquet", pa.table({"text": ["x"], "id": [1.5], "pos": [[1]]})))
    for column, message in ((ID, "holds double, not strings or integers"), (IDS, "not lists of ids in JSON lines")):
        with pytest.raises(InputError, match=message):
            resolve_inputs([str(path)], spec_of(column))


def test_rows_without_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 7, "pos": [1]}\n{"id": 8, "pos": []}\n')
    with pytest.raises(InputError, match="no text column was named"):
        resolve_inputs([str(path)], ReadSpec(values=(ID, IDS)))
    _, spec = resolve_inputs([str(path)], ReadSpec(values=(ID, IDS)), texts=False)
    assert spec.text_columns == ()
    empty = tmp_path / "b.jsonl"
    empty.write_text("")
    assert resolve_inputs([str(empty)], ReadSpec(values=(ID,)), texts=False)[1].text_columns == ()


CELLS = st.one_of(st.integers(), st.text(st.characters(exclude_categories=["Cs"]), max_size=3))


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.lists(CELLS, max_size=3))), st.data())
def test_any_lists_with_names(cells: list[Any], data: st.DataObject) -> None:
    broken = data.draw(st.sets(st.integers(0, len(cells) - 1)) if cells else st.just(set()))
    given_cells = [None if index in broken else cell for index, cell in enumerate(cells)]
    bad: dict[int, str] = {}
    array = id_array(LISTS, given_cells, bad)
    array.validate(full=True)
    assert bad == dict.fromkeys(broken, "column 'neg' is null")
    good = array.filter(pa.array([index not in broken for index in range(len(cells))], pa.bool_()))
    expected = [
        [(name, [*map(str, part)]) for name, part in cell.items()]
        for index, cell in enumerate(cells)
        if index not in broken
    ]
    assert good.to_pylist() == expected
