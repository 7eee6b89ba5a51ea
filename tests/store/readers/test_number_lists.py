"""Value columns of lists of numbers, and checks of rows by their values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from st_ray.core.errors import InputError
from st_ray.store.readers import ReadSpec, ValueColumn, read_shard, resolve_inputs
from st_ray.store.readers.plan import cut_shards
from tests.store.readers.test_bad_rows import check
from tests.store.readers.writing import encode_records, read_all, rejects_of, scan_all, table_bytes, values_of

GRADES = ValueColumn("grades", "numbers")
SPEC = ReadSpec("id", ("text",), values=(GRADES,))
CELLS: list[list[float]] = [[1, 0], [], [0.5], [-2, 3.25, 1e30]]


def rows_with(cells: list[Any]) -> list[dict[str, Any]]:
    return [{"id": str(number), "text": "x", "grades": cell} for number, cell in enumerate(cells)]


@pytest.mark.parametrize("extension", ["parquet", "arrow", "jsonl", "jsonl.gz"])
def test_lists_in_every_format_that_has_them(tmp_path: Path, extension: str) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("grades", pa.list_(pa.float64()))])
    path = tmp_path / f"a.{extension}"
    path.write_bytes(encode_records(extension, rows_with(CELLS), schema))
    blocks, _ = read_all([path], SPEC, 3, staging=tmp_path / "staging")
    assert values_of(blocks) == [("x", cell) for cell in CELLS]
    assert {array.type for block in blocks for array in block.values} == {pa.list_(pa.float64())}


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.float32(), pa.decimal128(9, 2), pa.bool_()])
@pytest.mark.parametrize("make", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 2)])
def test_types_of_lists_in_tables(tmp_path: Path, kind: pa.DataType, make: Any) -> None:
    path = tmp_path / "a.parquet"
    lists = pa.array([[1, 0], [0, 1]], make(pa.int8())).cast(make(kind))
    path.write_bytes(table_bytes("parquet", pa.table({"id": ["a", "b"], "text": ["x", "x"], "grades": lists})))
    assert values_of(read_all([path], SPEC)[0]) == [("x", [1.0, 0.0]), ("x", [0.0, 1.0])]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1", "column 'grades' is of type integer, not a list of numbers"),
        ("null", "column 'grades' is null"),
        ('[1, "2"]', "column 'grades' holds a list with a value of type string, not a list of numbers"),
        ("[1, null]", "column 'grades' holds a list with a value of type null, not a list of numbers"),
        ("[1, [2]]", "column 'grades' holds a list with a value of type array, not a list of numbers"),
        ("[1, NaN]", "column 'grades' holds nan, not a finite number"),
        (f"[{10**400}]", f"column 'grades' holds {str(10**400)[:37]}..., which does not fit into 64 bits"),
    ],
)
def test_bad_json_cells(tmp_path: Path, cell: str, reason: str) -> None:
    cells = ["[1, 2.5]", "[true]", cell, "[]"]
    lines = [f'{{"id": "{number}", "text": "x", "grades": {cell}}}\n' for number, cell in enumerate(cells)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    check(tmp_path / "a.jsonl", SPEC, 2, reason)


@pytest.mark.parametrize("extension", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "column 'grades' is null"),
        ([1.0, None], "column 'grades' holds a list with a value of type null"),
        ([1.0, math.inf], "column 'grades' holds inf, not a finite number"),
    ],
)
def test_bad_cells_of_tables_show_in_the_scan(tmp_path: Path, extension: str, cell: Any, reason: str) -> None:
    content = pa.table({"id": ["a", "b", "c", "d"], "text": ["x"] * 4, "grades": [[1.0], [], cell, [2.0]]})
    (tmp_path / f"a.{extension}").write_bytes(table_bytes(extension, content))
    check(tmp_path / f"a.{extension}", SPEC, 2, reason)


def test_columns_and_formats_that_hold_none(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(
        table_bytes("parquet", pa.table({"id": ["a"], "text": ["x"], "grades": [["1"]]}))
    )
    with pytest.raises(InputError, match="column 'grades' holds list of strings, not lists of numbers"):
        resolve_inputs([str(tmp_path / "a.parquet")], SPEC)
    (tmp_path / "a.csv").write_text("id,text,grades\na,x,1\n")
    with pytest.raises(InputError, match="column 'grades' is to hold lists of numbers, which a csv file cannot"):
        resolve_inputs([str(tmp_path / "a.csv")], SPEC)


@dataclass(frozen=True)
class AtMost:
    """Finds rows whose score, or one of whose grades, is above a limit."""

    limit: float

    def __call__(self, values: Mapping[str, pa.Array]) -> Mapping[int, str]:
        assert set(values) <= {"score", "grades"}, "texts are not read for it"
        return {
            row: f"is above {self.limit}"
            for row, score in enumerate(values["score"].to_pylist())
            if score is not None and score > self.limit
        }


@pytest.mark.parametrize("extension", ["parquet", "arrow", "jsonl", "csv"])
def test_checks_find_rows_in_scan_and_reading(tmp_path: Path, extension: str) -> None:
    scores: list[float] = [1, 2, 7, 0.5, 9]
    rows = [{"id": str(row), "text": "x", "other": "y", "score": score} for row, score in enumerate(scores)]
    kinds = [("id", pa.string()), ("text", pa.string()), ("other", pa.string()), ("score", pa.float64())]
    path = tmp_path / f"a.{extension}"
    path.write_bytes(encode_records(extension, rows, pa.schema(kinds)))
    values = (ValueColumn("other", "text"), ValueColumn("score", "number"))
    spec = ReadSpec("id", ("text",), values=values, check=AtMost(8))
    check(path, spec, 4, "is above 8")
    blocks, _ = read_all([path], ReadSpec("id", ("text",), values=values, check=AtMost(1)), 2, "skip")
    assert values_of(blocks) == [("x", "y", 1.0), ("x", "y", 0.5)]
    assert [reject["row"] for reject in rejects_of(blocks)] == [1, 2, 4]


def test_a_bad_cell_keeps_its_own_reason(tmp_path: Path) -> None:
    lines = [{"text": "x", "score": 9}, {"text": None, "score": 9}, {"text": "x", "score": "9"}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    spec = ReadSpec(text_columns=("text",), values=(ValueColumn("score", "number"),), check=AtMost(8))
    files, spec, scans = scan_all([tmp_path / "a.jsonl"], spec)
    (plan,) = cut_shards(files, scans, 10)
    reasons = [reject["reason"] for reject in read_shard(plan, spec, on_bad_row="skip").rejects.to_pylist()]
    assert reasons == ["is above 8", "column 'text' is null", "column 'score' is of type string, not a number"]
