"""Rows that cannot be processed: named with their file, their number and the reason, or left out and listed."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_ray.core.errors import InputError
from st_ray.store.readers import REJECTS_SCHEMA, ReadSpec, read
from tests.store.readers.writing import SPEC, csv_bytes, jsonl_bytes, read_all, rejects_of, rows_of

GOOD = jsonl_bytes([("a", "first"), ("b", "second")])


def check(path: Path, spec: ReadSpec, row: int, reason: str) -> None:
    """The file's only bad row is `row` (from 0), with a reason that contains `reason`."""
    blocks, (scan,) = read_all([path], spec, 2, "skip")
    assert [(found, reason in why) for found, why in scan.bad] == [(row, True)], scan.bad
    assert scan.bad_rows == 1
    (reject,) = rejects_of(blocks)
    assert (reject["file"], reject["row"], reject["row_in_file"]) == (str(path), row, row)
    assert reason in reject["reason"]
    assert [number for number, _, _ in rows_of(blocks)] == [n for n in range(scan.rows) if n != row]
    assert all(block.rejects.schema == REJECTS_SCHEMA for block in blocks)
    with pytest.raises(InputError) as caught:
        read_all([path], spec, 2, "fail")
    message = str(caught.value)
    assert f"{path}: row {row + 1} " in message and reason in message and "--on-bad-row skip" in message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "x", "text": ', "not valid JSON: Expecting value, at character"),
        (b'{"id": "x", "text": "y"} {"id": "z", "text": "y"}', "not valid JSON: Extra data"),
        (b'{"id": "x", "text": "a\tb"}', "not valid JSON: Invalid control character"),
        (b'["x", "y"]', "a JSON value of type array, not an object"),
        (b"null", "a JSON value of type null, not an object"),
        (b'{"id": "x", "text": "\xff"}', "not valid UTF-8: byte 0xff"),
        (b'{"id": "x", "text": "\\ud83d"}', "column 'text' holds half a surrogate pair"),
        (b'{"id": "\\udc00", "text": "y"}', "id column 'id' holds half a surrogate pair"),
        (b'{"id": "x"}', "column 'text' is missing"),
        (b'{"text": "x"}', "id column 'id' is missing"),
        (b'{"id": "x", "text": null}', "column 'text' is null"),
        (b'{"id": null, "text": "x"}', "id column 'id' is null"),
        (b'{"id": "x", "text": 5}', "column 'text' is of type integer, not string"),
        (b'{"id": "x", "text": ["y"]}', "column 'text' is of type array, not string"),
        (b'{"id": 7, "text": "x"}', "id column 'id' is of type integer, where the rows before hold string"),
        (b'{"id": 1.5, "text": "x"}', "id column 'id' is of type number: neither string nor integer"),
        (b'{"id": true, "text": "x"}', "id column 'id' is of type boolean"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"id": "x", "text": ' + b"1" * 5000 + b"}", "not valid JSON" if sys.version_info >= (3, 11) else "integer"),
    ],
)
def test_json_lines(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b"\n  \n" + line + b"\n" + GOOD)
    check(path, SPEC, 2, reason)


def test_json_integer_beyond_int64(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl_bytes([(2**63 - 1, "fits"), (2**63, "does not"), (-(2**63), "fits")]))
    check(path, SPEC, 1, "id column 'id' holds 9223372036854775808, which does not fit into 64 bits")


def test_escaped_surrogate_pairs_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "x", "text": "\\ud83d\\ude00"}\r\n{"id": "y", "text": " "}\r\n')
    assert [text for _, _, text in rows_of(read_all([path])[0])] == ["\U0001f600", " "]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"only one\r\n", "expected 2 fields, found 1"),
        (b"x,y,z\r\n", "expected 2 fields, found 3"),
        (b"x,caf\xe9\r\n", "not valid UTF-8"),
        (b'x,"two\nlines \xe9"\r\n', "not valid UTF-8"),
        (b'x,"quoted" and more\r\n', "malformed: ',' expected after '\"'"),
    ],
)
def test_csv(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "a.csv"
    rows = [("a", "first"), ("b", "two\r\nlines"), ("c", "third")]
    path.write_bytes(csv_bytes(rows) + line + csv_bytes(rows, header=False))
    check(path, SPEC, 3, reason)


def test_csv_quote_that_is_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\na,first\nb,"second\nc,third\n')
    check(path, SPEC, 1, "a quoted field is never closed")


def test_quotes_can_be_plain_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b'1\t"Hello" he said\n2\t"unclosed\n3\tplain\n')
    spec = ReadSpec("id", ("text",), columns=("id", "text"), quotes=False)
    assert [text for _, _, text in rows_of(read_all([path], spec)[0])] == ['"Hello" he said', '"unclosed', "plain"]


def test_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n\ncaf\xe9\nfour")
    check(path, ReadSpec(), 2, "not valid UTF-8: byte 0xe9")


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_tables_with_nulls(tmp_path: Path, extension: str, statistics: bool) -> None:
    for name, nulls in (("text", (None, "x")), ("id", ("x", None))):
        folder = tmp_path / f"{name}-{statistics}"
        folder.mkdir()
        path = folder / f"a.{extension}"
        content = pa.table({"id": ["a", "b", "c", nulls[1]], "text": ["1", "2", "3", nulls[0]]})
        if extension == "parquet":
            pq.write_table(content, path, row_group_size=2, write_statistics=statistics)
        else:
            with pa.ipc.new_stream(str(path), content.schema) as writer:
                writer.write_table(content, max_chunksize=3)
        check(path, SPEC, 3, "is null")


def test_unsigned_ids_beyond_int64(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": pa.array([1, 2**64 - 1], pa.uint64()), "text": ["x", "y"]}), path)
    check(path, SPEC, 1, "does not fit into 64 bits")


def test_parquet_text_that_is_not_utf8_shows_in_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    offsets = pa.array([0, 1, 3], pa.int32()).buffers()[1]
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff\xfe")])
    pq.write_table(pa.table({"id": ["a", "b"], "text": texts}), path)
    blocks, _ = read_all([path], SPEC, on_bad_row="skip")
    assert "column 'text' is not valid UTF-8" in rejects_of(blocks)[0]["reason"]
    with pytest.raises(InputError, match=r"a\.parquet: row 2 .*not valid UTF-8"):
        read_all([path], SPEC)


def test_later_files_of_nothing_but_bad_rows(tmp_path: Path) -> None:
    """What is an error in the first file, which is where a typing mistake shows, is a bad row in a later one."""
    (tmp_path / "a.csv").write_bytes(b"1,x\n")
    (tmp_path / "b.csv").write_bytes(b"2\n")
    (tmp_path / "c.jsonl").write_bytes(b"[3]\n{}\n")
    spec = ReadSpec("id", ("text",), columns=("id", "text"))
    inputs = [tmp_path / name for name in ("a.csv", "b.csv", "c.jsonl")]
    blocks, _ = read_all(inputs, spec, on_bad_row="skip")
    assert rows_of(blocks) == [(0, "1", "x")]
    assert [reject["row_in_file"] for reject in rejects_of(blocks)] == [0, 0, 1]


def test_all_rows_bad(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.nulls(3), "text": ["x", "y", "z"]}), tmp_path / "a.parquet")
    (block,), (scan,) = read_all([tmp_path], SPEC, on_bad_row="skip", max_bad=2)
    assert (len(block), block.ids.type, block.rejects.num_rows) == (0, pa.string(), 3)
    assert (scan.bad_rows, len(scan.bad), scan.id_kind) == (3, 2, None)


def test_a_null_in_any_text_column_is_bad_and_an_empty_string_is_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"t": "", "b": "x"}\n{"t": null, "b": "x"}\n{"t": "y", "b": ""}\n')
    (block,), _ = read_all([path], ReadSpec(text_columns=("t", "b")), on_bad_row="skip")
    assert block.texts == [" x", "y "]
    assert block.rows.tolist() == block.ids.to_pylist() == [0, 2]


def test_rejects_are_empty_but_typed_when_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (block,), _ = read_all([tmp_path])
    assert block.rejects.num_rows == 0 and block.rejects.schema == read.REJECTS_SCHEMA
