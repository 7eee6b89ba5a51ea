"""Value columns: second texts, lists of texts, numbers and classes, each read beside the text, from every format."""

from __future__ import annotations

import json
import math
import pickle
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.store.readers import ReadSpec, ValueColumn, cut_shards, files, read, read_shard, resolve_inputs, scan
from tests.store.readers.test_bad_rows import check
from tests.store.readers.test_law import TEXTS, fitting
from tests.store.readers.writing import (
    csv_bytes,
    encode_records,
    jsonl_bytes,
    read_all,
    rejects_of,
    rows_of,
    scan_all,
    table_bytes,
    values_of,
)

OTHER = ValueColumn("other", "text")
SCORE = ValueColumn("score", "number")
LABEL = ValueColumn("label", "class", 3)
POSITIVE = ValueColumn("positive", "texts")
ROWS: list[dict[str, Any]] = [
    {
        "id": f"id-{number}",
        "text": f"text {number}",
        "other": "" if number == 5 else f"other {number}",
        "score": number / 4 - 1,
        "label": number % 3,
        "positive": [f"positive {part}" for part in range(number % 4)],
    }
    for number in range(11)
]
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("other", pa.string()),
        ("score", pa.float64()),
        ("label", pa.int32()),
        ("positive", pa.list_(pa.string())),
    ]
)
FORMATS = ["parquet", "arrow", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "tsv", "csv.gz", "tsv.zst"]


def spec_of(*values: ValueColumn) -> ReadSpec:
    return ReadSpec("id", ("text",), values=values)


def has_lists(extension: str) -> bool:
    return not extension.startswith(("csv", "tsv"))


def encode(extension: str, rows: list[dict[str, Any]] = ROWS) -> bytes:
    """The rows as a file; without the lists where the format has none."""
    if has_lists(extension):
        return encode_records(extension, rows, SCHEMA)
    rows = [{name: cell for name, cell in row.items() if name != "positive"} for row in rows]
    return encode_records(extension, rows, SCHEMA.remove(SCHEMA.get_field_index("positive")))


@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize("extension", FORMATS)
def test_every_kind_in_every_format(tmp_path: Path, extension: str, staged: bool) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(encode(extension))
    values = (SCORE, OTHER, LABEL, *((POSITIVE,) if has_lists(extension) else ()))
    staging = tmp_path / "staging" if staged else None
    blocks, (scanned,) = read_all([path], spec_of(*values), 4, mark_every=3, staging=staging)
    assert (scanned.rows, scanned.bad_rows) == (11, 0)
    assert (scanned.chunks is not None) == (staged and extension.endswith(("gz", "zst")))
    assert values_of(blocks) == [(row["text"], *(row[column.name] for column in values)) for row in ROWS]
    types = [pa.float64(), pa.string(), pa.int64(), pa.list_(pa.string())][: len(values)]
    assert [[array.type for array in block.values] for block in blocks] == [types] * 3
    assert [row_id for _, row_id, _ in rows_of(blocks)] == [row["id"] for row in ROWS]


def test_no_value_columns_no_values(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(encode("jsonl"))
    blocks, _ = read_all([tmp_path], spec_of(), 4)
    assert [block.values for block in blocks] == [()] * 3


def test_one_column_for_several_uses(tmp_path: Path) -> None:
    number, label = ValueColumn("label", "number"), ValueColumn("label", "class")
    spec = ReadSpec("id", ("text", "other"), values=(ValueColumn("text", "text"), number, label))
    assert spec.needed() == ("text", "other", "id", "label")
    for extension in ("parquet", "jsonl", "csv"):
        path = tmp_path / f"a.{extension}"
        path.write_bytes(encode(extension))
        expected = [(f"{row['text']} {row['other']}", row["text"], float(row["label"]), row["label"]) for row in ROWS]
        assert values_of(read_all([path], spec, 4)[0]) == expected


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        (SCORE, [1, 2.5, True, False, -0.0, 2**60 + 1], [1.0, 2.5, 1.0, 0.0, 0.0, float(2**60)]),
        (LABEL, [1, 2.0, True, False, 0.0], [1, 2, 1, 0, 0]),
        (ValueColumn("label", "class"), [2**53 + 1, 2**63 - 1, 7.0], [2**53 + 1, 2**63 - 1, 7]),
        (OTHER, ["", " ", "\U0001f600"], ["", " ", "\U0001f600"]),
        (POSITIVE, [[], ["", "é"]], [[], ["", "é"]]),
    ],
)
def test_json_cells(tmp_path: Path, column: ValueColumn, cells: list[Any], expected: list[Any]) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"id": str(number), "text": "x", column.name: cell} for number, cell in enumerate(cells)]
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    assert values_of(read_all([path], spec_of(column), 2)[0]) == [("x", cell) for cell in expected]


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        (SCORE, ["3", "-2.5", " 1e3 ", "0.1"], [3.0, -2.5, 1000.0, 0.1]),
        (LABEL, ["2", "1.0", " 0"], [2, 1, 0]),
        (ValueColumn("label", "class"), ["9007199254740993", "9223372036854775807"], [2**53 + 1, 2**63 - 1]),
    ],
)
def test_numbers_spelled_in_csv(tmp_path: Path, column: ValueColumn, cells: list[str], expected: list[Any]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,text,{column.name}\n" + "".join(f"{number},x,{cell}\n" for number, cell in enumerate(cells)))
    assert values_of(read_all([path], spec_of(column), 2)[0]) == [("x", cell) for cell in expected]


STRINGS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), pa.int64(), pa.uint64()]
OTHER_NUMBERS = [pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2), pa.decimal256(50, 3)]


@pytest.mark.parametrize("extension", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("column", "types", "cells"),
    [
        (SCORE, [*INTEGERS, *OTHER_NUMBERS], [1, 0, 2, 5]),
        (SCORE, OTHER_NUMBERS, [1.5, -0.25, 2, 4]),
        (LABEL, [*INTEGERS, *OTHER_NUMBERS], [1, 0, 2, 2]),
        (SCORE, [pa.bool_()], [True, False, True, True]),
        (LABEL, [pa.bool_()], [True, False, True, True]),
        (OTHER, STRINGS, ["a", "", "b", "é"]),
        (POSITIVE, [pa.list_(kind) for kind in STRINGS[:3]], [["a"], [], ["", "b"], ["c"]]),
        (POSITIVE, [pa.large_list(kind) for kind in STRINGS[:3]], [["a"], [], ["", "b"], ["c"]]),
        (POSITIVE, [pa.list_(kind, 2) for kind in STRINGS[:3]], [["a", ""], ["c", "d"], ["e", "é"], ["g", "h"]]),
        (POSITIVE, [pa.list_(pa.null())], [[], [], [], []]),
    ],
)
def test_column_types_of_tables(
    tmp_path: Path, extension: str, column: ValueColumn, types: list[pa.DataType], cells: list[Any]
) -> None:
    for kind in types:
        if extension == "arrow" and pa.types.is_dictionary(kind):
            continue
        decimal = pa.types.is_decimal(kind)
        array = pa.array([Decimal(str(cell)) for cell in cells] if decimal else cells).cast(kind)
        path = tmp_path / f"a.{extension}"
        content = pa.table({"id": ["a", "b", "c", "d"], "text": ["x"] * 4, column.name: array})
        path.write_bytes(table_bytes(extension, content))
        blocks, (scanned,) = read_all([path], spec_of(column), 3)
        assert [value for _, value in values_of(blocks)] == cells, kind
        assert scanned.bad_rows == 0, kind


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        (SCORE, '"3"', "column 'score' is of type string, not a number"),
        (SCORE, "null", "column 'score' is null"),
        (SCORE, None, "column 'score' is missing"),
        (SCORE, "[1]", "column 'score' is of type array, not a number"),
        (SCORE, "NaN", "column 'score' holds nan, not a finite number"),
        (SCORE, "-Infinity", "column 'score' holds -inf, not a finite number"),
        (SCORE, "1e999", "column 'score' holds inf, not a finite number"),
        (SCORE, "1" * 400, f"column 'score' holds {'1' * 37}..., which does not fit into 64 bits"),
        (LABEL, "7", "column 'label' holds 7, not one of 0 to 2"),
        (LABEL, "-1", "column 'label' holds -1, not one of 0 to 2"),
        (LABEL, "1.5", "column 'label' holds 1.5, not one of 0 to 2"),
        (LABEL, "NaN", "column 'label' holds nan, not one of 0 to 2"),
        (LABEL, "1e999", "column 'label' holds inf, not one of 0 to 2"),
        (LABEL, '"1"', "column 'label' is of type string, not a number"),
        (LABEL, "null", "column 'label' is null"),
        (ValueColumn("label", "class", 2), "2", "column 'label' holds 2, not 0 or 1"),
        (ValueColumn("label", "class", 1), "true", "column 'label' holds True, not 0"),
        (
            ValueColumn("label", "class"),
            str(2**63),
            "column 'label' holds 9223372036854775808, not a whole number from 0 to 9223372036854775807",
        ),
        (ValueColumn("label", "class"), "-1", "column 'label' holds -1, not a whole number from 0 to "),
        (OTHER, "null", "column 'other' is null"),
        (OTHER, "5", "column 'other' is of type integer, not string"),
        (OTHER, '"\\ud83d"', "column 'other' holds half a surrogate pair"),
        (POSITIVE, '"one"', "column 'positive' is of type string, not a list of strings"),
        (POSITIVE, "null", "column 'positive' is null"),
        (POSITIVE, None, "column 'positive' is missing"),
        (POSITIVE, '{"a": "b"}', "column 'positive' is of type object, not a list of strings"),
        (POSITIVE, '["a", null]', "column 'positive' holds a list with a value of type null, not a list of strings"),
        (POSITIVE, '["a", ["b"]]', "column 'positive' holds a list with a value of type array, not a list of strings"),
        (POSITIVE, '["a", "\\udc00"]', "column 'positive' holds half a surrogate pair"),
    ],
)
def test_bad_json_cells(tmp_path: Path, column: ValueColumn, cell: str | None, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    good = {"score": "1.5", "label": "0", "other": '"\\ud83d\\ude00"', "positive": '["\\ud83d\\ude00"]'}[column.name]
    cells = [good, good, cell, good]
    lines = [
        f'{{"id": "{number}", "text": "x"' + ("" if value is None else f', "{column.name}": {value}') + "}\n"
        for number, value in enumerate(cells)
    ]
    path.write_text("".join(lines))
    check(path, spec_of(column), 2, reason)


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        (SCORE, "abc", "column 'score' holds 'abc', not a number"),
        (SCORE, "", "column 'score' holds '', not a number"),
        (SCORE, "x" * 50, f"column 'score' holds '{'x' * 36}..., not a number"),
        (SCORE, "nan", "column 'score' holds nan, not a finite number"),
        (SCORE, "1e999", "column 'score' holds inf, not a finite number"),
        (LABEL, "abc", "column 'label' holds 'abc', not a number"),
        (LABEL, "7", "column 'label' holds 7, not one of 0 to 2"),
        (LABEL, "-1", "column 'label' holds -1, not one of 0 to 2"),
        (LABEL, "nan", "column 'label' holds nan, not one of 0 to 2"),
    ],
)
@pytest.mark.parametrize("extension", ["csv", "tsv"])
def test_bad_csv_cells(tmp_path: Path, extension: str, column: ValueColumn, cell: str, reason: str) -> None:
    path = tmp_path / f"a.{extension}"
    rows = [f"id,text,{column.name}", "a,x,1", f"b,x,{cell}", "c,x,0"]
    path.write_text("\n".join(rows).replace(",", "," if extension == "csv" else "\t"))
    check(path, spec_of(column), 1, reason)


def test_broken_records_keep_their_own_reason(tmp_path: Path) -> None:
    """What stands in the place of a broken record is neither parsed nor put into an array."""
    (tmp_path / "a.csv").write_bytes(b"id,text,other,score\na,x,y,1\nb\nc,x,caf\xe9,z\n")
    blocks, _ = read_all([tmp_path / "a.csv"], spec_of(OTHER, SCORE), on_bad_row="skip")
    assert [reject["reason"] for reject in rejects_of(blocks)] == ["expected 4 fields, found 1", "not valid UTF-8"]
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x", "score": 1}\n{"score": 1\n{"text": 5, "score": "y"}\n')
    spec = ReadSpec(text_columns=("text",), values=(SCORE,))
    blocks, _ = read_all([tmp_path / "a.jsonl"], spec, on_bad_row="skip")
    first, second = [reject["reason"] for reject in rejects_of(blocks)]
    assert first.startswith("not valid JSON") and second == "column 'text' is of type integer, not string"
    assert values_of(blocks) == [("x", 1.0)]


@pytest.mark.parametrize(
    ("column", "cells", "reason"),
    [
        (SCORE, pa.array([1.5, 2.0, math.nan, 3.0]), "column 'score' holds nan, not a finite number"),
        (SCORE, pa.array([1, 2, math.inf, 3], pa.float32()), "column 'score' holds inf, not a finite number"),
        (SCORE, pa.array([1, 2, None, 3]), "column 'score' is null"),
        (LABEL, pa.array([1, 2, 3, 0], pa.uint8()), "column 'label' holds 3, not one of 0 to 2"),
        (LABEL, pa.array([1, 2, -1, 0]), "column 'label' holds -1, not one of 0 to 2"),
        (LABEL, pa.array([1, 2, 0.5, 0]), "column 'label' holds 0.5, not one of 0 to 2"),
        (LABEL, pa.array([1, 2, 2.0**63, 0]), "column 'label' holds 9.223372036854776e+18, not one of 0 to 2"),
        (LABEL, pa.array([1, 2, math.nan, 0]), "column 'label' holds nan, not one of 0 to 2"),
        (LABEL, pa.array([1, 2, 2**64 - 1, 0], pa.uint64()), "column 'label' holds 18446744073709551615, not one of"),
        (
            LABEL,
            pa.array([Decimal("1.0"), Decimal("2.0"), Decimal("2.5"), Decimal("0.0")]),
            "column 'label' holds 2.5, not one of 0 to 2",
        ),
        (OTHER, pa.array(["a", "b", None, "c"]), "column 'other' is null"),
        (POSITIVE, pa.array([["a"], [], None, ["b"]]), "column 'positive' is null"),
        (
            POSITIVE,
            pa.array([["a"], [], ["x", None], ["b"]], pa.large_list(pa.large_string())),
            "column 'positive' holds a list with a value of type null, not a list of strings",
        ),
        (
            POSITIVE,
            pa.array([["a", "b"], ["c", "d"], ["e", None], ["g", "h"]], pa.list_(pa.string(), 2)),
            "column 'positive' holds a list with a value of type null",
        ),
        (POSITIVE, pa.array([[], [], [None], []], pa.list_(pa.null())), "holds a list with a value of type null"),
    ],
)
@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_bad_cells_of_tables_show_in_the_scan(
    tmp_path: Path, extension: str, statistics: bool, column: ValueColumn, cells: pa.Array, reason: str
) -> None:
    path = tmp_path / f"a.{extension}"
    content = pa.table({"id": ["a", "b", "c", "d"], "text": ["x"] * 4, column.name: cells})
    options = {"write_statistics": statistics} if extension == "parquet" else {}
    path.write_bytes(table_bytes(extension, content, **options))
    check(path, spec_of(column), 2, reason)
    # Without a look at the ids, which reads more of a table.
    assert [row for row, _ in scan_all([path], spec_of(column), want_ids=False)[2][0].bad] == [2]


@pytest.mark.parametrize("make", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 1)])
def test_lists_that_are_not_utf8(tmp_path: Path, make: Any) -> None:
    offsets = pa.array([0, 1, 3, 3], pa.int32()).buffers()[1]
    parts = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xff\xfe")])
    whole = pa.array([["a"]] * 3, make(pa.string()))
    buffers = whole.buffers()[: 1 if pa.types.is_fixed_size_list(whole.type) else 2]
    lists = pa.Array.from_buffers(whole.type, 3, buffers, children=[parts])
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "c"], "text": ["x"] * 3, "positive": lists}), path)
    check(path, spec_of(POSITIVE), 1, "column 'positive' is not valid UTF-8")


def test_second_texts_that_are_not_utf8_show_in_reading(tmp_path: Path) -> None:
    offsets = pa.array([0, 1, 3], pa.int32()).buffers()[1]
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff\xfe")])
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["x", "y"], "other": texts}), path)
    blocks, (scanned,) = read_all([path], spec_of(OTHER), on_bad_row="skip")
    assert scanned.bad_rows == 0
    assert values_of(blocks) == [("x", "a")]
    assert "column 'other' is not valid UTF-8" in rejects_of(blocks)[0]["reason"]


def test_a_damaged_list(tmp_path: Path) -> None:
    data = bytearray(
        table_bytes("arrow", pa.table({"id": ["a", "b"], "text": ["x", "y"], "positive": [["abc"], ["d", "efg"]]}))
    )
    offset = data.index((0).to_bytes(4, "little") + (1).to_bytes(4, "little") + (3).to_bytes(4, "little"))
    data[offset + 8 : offset + 12] = (1 << 30).to_bytes(4, "little")
    path = tmp_path / "a.arrow"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.arrow: cannot be read"):
        read_all([path], spec_of(POSITIVE))


def test_the_scan_of_parquet_reads_no_texts_without_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_columns: list[tuple[str, ...]] = []

    def spy(file: Any, columns: tuple[str, ...], *args: Any) -> Any:
        read_columns.append(columns)
        return parquet_batches(file, columns, *args)

    parquet_batches = scan.parquet_batches
    monkeypatch.setattr(scan, "parquet_batches", spy)
    rows = [{**row, "other": None if number == 10 else row["other"]} for number, row in enumerate(ROWS)]
    path = tmp_path / "a.parquet"
    path.write_bytes(encode("parquet", rows))

    def columns_read(want_ids: bool, *values: ValueColumn) -> list[tuple[str, ...]]:
        read_columns.clear()
        scan_all([path], spec_of(*values), want_ids=want_ids)
        return read_columns

    assert columns_read(False) == []
    assert columns_read(False, SCORE) == [("score",)] * 4
    assert columns_read(True, SCORE) == [("id", "score")] * 4
    # The null is in the last of the four row groups.
    assert columns_read(False, OTHER) == [("text", "id", "other")]
    everything = ("text", "id", "other", "label", "positive")
    assert columns_read(False, OTHER, LABEL, POSITIVE) == [("label", "positive")] * 3 + [everything]


ANY_LABEL = st.sampled_from([0, 1, 2, 3, -1, 1.0, 2.5, 1e300, math.nan, math.inf, 2**62, None])


def is_class(cell: float | None) -> bool:
    return cell in (0, 1, 2)


@given(
    st.sampled_from(["parquet", "arrow", "jsonl", "csv", "jsonl.gz"]),
    st.lists(st.tuples(ANY_LABEL, st.one_of(st.none(), TEXTS)), min_size=1, max_size=20),
    st.integers(1, 9),
    st.integers(1, 9),
)
@settings(max_examples=150, deadline=None)
def test_bad_rows_are_the_same_in_every_format_and_cut(
    extension: str, cells: list[tuple[float | None, str | None]], shard_rows: int, mark_every: int
) -> None:
    is_csv = extension == "csv"
    rows: list[dict[str, Any]] = [
        {"text": "x", "score": label, "label": label, "other": None if other is None else fitting(extension, other)}
        for label, other in cells
    ]
    types = {"text": pa.string(), "score": pa.float64(), "label": pa.float64(), "other": pa.string()}
    if extension in ("parquet", "arrow"):
        rows = [{**row, "score": _float(row["score"]), "label": _float(row["label"])} for row in rows]
    spec = ReadSpec(text_columns=("text",), values=(SCORE, LABEL, OTHER))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{extension}"
        path.write_bytes(encode_records(extension, rows, pa.schema(list(types.items()))))
        blocks, (scanned,) = read_all([path], spec, shard_rows, "skip", mark_every=mark_every, max_bad=100)
    # An empty cell of CSV is an empty string.
    good = [is_class(row["label"]) and (is_csv or row["other"] is not None) for row in rows]
    expected = [
        ("x", float(row["score"]), int(row["label"]), row["other"] or "")
        for row, fine in zip(rows, good, strict=True)
        if fine
    ]
    assert values_of(blocks) == expected
    bad = [number for number, fine in enumerate(good) if not fine]
    assert [row for row, _ in scanned.bad] == [reject["row"] for reject in rejects_of(blocks)] == bad
    assert [reason for _, reason in scanned.bad] == [reject["reason"] for reject in rejects_of(blocks)]


def _float(cell: float | None) -> float | None:
    return None if cell is None else float(cell)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[tuple[str, list[dict[str, Any]]]], tuple[ValueColumn, ...]]:
    """Files, as (extension, rows), and the value columns to read."""
    columns = tuple(draw(st.lists(st.sampled_from([OTHER, SCORE, LABEL, POSITIVE]), unique=True)))
    extensions = [extension for extension in FORMATS if POSITIVE not in columns or has_lists(extension)]
    parts, number = [], 0
    for size in draw(st.lists(st.integers(0, 8), min_size=1, max_size=4)):
        extension = draw(st.sampled_from(extensions))
        rows = []
        for _ in range(size):
            rows.append(
                {
                    "id": f"id-{number}",
                    "text": f"text {number}",
                    "other": fitting(extension, draw(TEXTS)),
                    "score": draw(st.floats(allow_nan=False, allow_infinity=False)),
                    "label": draw(st.integers(0, 2)),
                    "positive": draw(st.lists(TEXTS, max_size=3)),
                }
            )
            number += 1
        parts.append((extension, rows))
    return parts, columns


@given(corpora(), st.integers(1, 12), st.integers(1, 12), st.booleans(), st.sampled_from([1, 7, 64, 1 << 20]))
@settings(max_examples=100, deadline=None)
def test_any_cut_gives_the_same_values(
    corpus: tuple[list[tuple[str, list[dict[str, Any]]]], tuple[ValueColumn, ...]],
    shard_rows: int,
    mark_every: int,
    staged: bool,
    block_bytes: int,
) -> None:
    parts, columns = corpus
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Blocks of a few bytes put a block's end at every place in a record.
        patch.setattr(files, "BLOCK_BYTES", block_bytes)
        paths = []
        for number, (extension, rows) in enumerate(parts):
            paths.append(Path(folder) / f"part-{number}.{extension}")
            paths[-1].write_bytes(encode(extension, rows))
        staging = Path(folder) / "staging" if staged else None
        blocks, _ = read_all(paths, spec_of(*columns), shard_rows, mark_every=mark_every, staging=staging)
    rows = [row for _, part in parts for row in part]
    assert values_of(blocks) == [(row["text"], *(row[column.name] for column in columns)) for row in rows]


def test_chunks_serve_any_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(encode("jsonl.gz"))
    staging = tmp_path / "staging"
    _, _, (plain,) = scan_all([path], spec_of(), mark_every=4, staging=staging)
    written = {file: file.stat().st_mtime_ns for file in staging.iterdir()}
    sources, spec, (scanned,) = scan_all([path], spec_of(SCORE), mark_every=4, staging=staging)
    assert scanned.chunks == plain.chunks
    assert {file: file.stat().st_mtime_ns for file in staging.iterdir()} == written
    blocks = [read_shard(plan, spec, on_bad_row="fail") for plan in cut_shards(sources, [scanned], 3)]
    assert values_of(blocks) == [(row["text"], row["score"]) for row in ROWS]


@pytest.mark.parametrize("extension", ["parquet", "arrow", "jsonl", "csv"])
def test_a_column_that_is_missing(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(encode(extension))
    with pytest.raises(InputError) as caught:
        resolve_inputs([str(path)], spec_of(ValueColumn("gold", "number")))
    message = str(caught.value)
    assert f"{path}: no column 'gold'; columns found: id (string), text (string), other (string), score (" in message
    assert "check --text-columns, --label-column and --id-column, and --columns" in message
    with pytest.raises(InputError) as caught:
        resolve_inputs([str(path)], ReadSpec("id", ("body",)))
    assert "--label-column" not in str(caught.value)


@pytest.mark.parametrize("extension", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        (ValueColumn("other", "number"), "column 'other' holds string, not numbers"),
        (ValueColumn("other", "class", 2), "column 'other' holds string, not numbers"),
        (ValueColumn("positive", "number"), "column 'positive' holds list of strings, not numbers"),
        (ValueColumn("score", "text"), "column 'score' holds double, not strings"),
        (ValueColumn("positive", "text"), "column 'positive' holds list of strings, not strings"),
        (ValueColumn("other", "texts"), "column 'other' holds string, not lists of strings"),
        (ValueColumn("numbers", "texts"), "column 'numbers' holds list of numbers, not lists of strings"),
        (ValueColumn("dates", "number"), "column 'dates' holds date32"),
    ],
)
def test_columns_of_other_types(tmp_path: Path, extension: str, column: ValueColumn, message: str) -> None:
    content = pa.Table.from_pylist(ROWS, SCHEMA)
    content = content.append_column("numbers", pa.array([[1]] * 11))
    content = content.append_column("dates", pa.nulls(11, pa.date32()))
    path = tmp_path / f"b.{extension}"
    path.write_bytes(table_bytes(extension, content))
    with pytest.raises(InputError) as caught:
        resolve_inputs([str(path)], spec_of(column))
    assert f"{path}: {message}" in str(caught.value)
    # In a later file the scan finds it.
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "0", "text": "x", column.name: 1}))
    with pytest.raises(InputError) as caught:
        scan_all([tmp_path / "a.jsonl", path], spec_of(column))
    assert f"{path}: {message}" in str(caught.value)


def test_columns_of_nothing_but_nulls(tmp_path: Path) -> None:
    columns = [OTHER, SCORE, LABEL, POSITIVE]
    content = pa.table({"id": ["a"], "text": ["x"], **{column.name: pa.nulls(1) for column in columns}})
    path = tmp_path / "a.parquet"
    pq.write_table(content, path)
    for column in columns:
        check(path, spec_of(column), 0, f"column {column.name!r} is null")


@pytest.mark.parametrize("extension", ["csv", "tsv", "txt", "csv.gz"])
def test_lists_need_a_format_that_has_them(tmp_path: Path, extension: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(encode("jsonl"))
    path = tmp_path / f"b.{extension}"
    path.write_bytes(b"text\n")
    for inputs in ([path], [tmp_path / "a.jsonl", path]):
        with pytest.raises(InputError) as caught:
            resolve_inputs([str(given) for given in inputs], spec_of(POSITIVE))
        assert f"{path}: column 'positive' is to hold lists of texts, which a " in str(caught.value)
        assert "use JSON lines or Parquet" in str(caught.value)


def test_lines_of_plain_text_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1\n2.5\nthree\n")
    spec = ReadSpec(text_columns=("text",), values=(ValueColumn("text", "number"),))
    blocks, _ = read_all([tmp_path], spec, 2, "skip")
    assert values_of(blocks) == [("1", 1.0), ("2.5", 2.5)]
    assert rejects_of(blocks)[0]["reason"] == "column 'text' holds 'three', not a number"


def test_the_text_column_is_none_of_the_value_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"key,text,other,score\n1,x,y,0.5\n")

    def chosen(*values: ValueColumn) -> tuple[str, ...]:
        return resolve_inputs([str(path)], ReadSpec("key", values=values))[1].text_columns

    assert chosen(OTHER, SCORE) == ("text",)
    assert chosen(ValueColumn("text", "text"), SCORE) == ("other",)
    with pytest.raises(InputError, match="no text column was named"):
        chosen(ValueColumn("text", "text"))


def test_rows_left_out_leave_their_values_out(tmp_path: Path) -> None:
    """A bad text or id takes the values beside it away, and a bad value the text and the other values."""
    lines = [
        '{"id": "a", "text": "x", "score": 1, "label": 0}',
        '{"id": "b", "text": null, "score": 2, "label": 0}',
        '{"id": 5, "text": "x", "score": 3, "label": 0}',
        '{"id": "c", "text": "x", "score": 4, "label": 9}',
        '{"id": "d", "text": "x", "score": null, "label": 0}',
        '{"id": "e", "text": "y", "score": 6, "label": 1}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    blocks, (scanned,) = read_all([tmp_path], spec_of(SCORE, LABEL), 4, "skip")
    assert values_of(blocks) == [("x", 1.0, 0), ("y", 6.0, 1)]
    assert [row_id for _, row_id, _ in rows_of(blocks)] == ["a", "e"]
    assert [row for row, _ in scanned.bad] == [1, 2, 3, 4]


def test_the_first_good_row_decides_what_ids_are(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "text": "x"}\n{"id": "b", "text": "x", "score": 1}\n')
    blocks, (scanned,) = read_all([tmp_path], spec_of(SCORE), on_bad_row="skip")
    assert scanned.id_kind == "string"
    assert values_of(blocks) == [("x", 1.0)]


def test_a_shard_of_bad_rows_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes([("a", "x"), ("b", "y")]) + encode("jsonl", ROWS[:1]))
    blocks, _ = read_all([tmp_path], spec_of(SCORE, POSITIVE), 2, "skip")
    assert [len(block) for block in blocks] == [0, 1]
    assert [array.type for array in blocks[0].values] == [pa.float64(), pa.list_(pa.string())]


def test_values_own_their_memory(tmp_path: Path) -> None:
    """A shard's values are not a window on a whole batch of a file that is mapped into memory."""
    content = pa.table({"text": ["x"] * 500, "score": [1.5] * 500, "positive": [["a long positive"]] * 500})
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), content.schema) as writer:
        writer.write_table(content)
    spec = ReadSpec(text_columns=("text",), values=(SCORE, POSITIVE))
    blocks, _ = read_all([tmp_path], spec, 10)
    assert len(blocks) == 50
    assert len(pickle.dumps(blocks[7].values)) < 2000


def test_texts_beyond_one_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_bytes(csv_bytes([("a", "x"), ("b", "y")]))
    sources, spec, scans = scan_all([tmp_path], spec_of(ValueColumn("text", "text")))
    (plan,) = cut_shards(sources, scans, 10)

    def refuse(_: Any) -> Any:
        raise pa.ArrowInvalid("offset overflow while concatenating arrays")

    monkeypatch.setattr(read.pa, "concat_arrays", refuse)
    with pytest.raises(InputError, match=r"column 'text': its texts in rows 1 to 2 .*overflow.*\n.*--shard-rows"):
        read_shard(plan, spec, on_bad_row="fail")
