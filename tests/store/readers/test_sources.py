"""What inputs stand for: files, folders, globs, datasets and BEIR folders, and the columns chosen in them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_ray.core.errors import InputError
from st_ray.store.readers import ReadSpec, resolve_inputs
from st_ray.store.readers.sources import input_columns
from tests.store.readers.writing import SPEC, encode, jsonl_bytes, parquet_bytes, read_all, rows_of

ROWS = [(number, f"text {number}") for number in range(7)]


def names(paths: list[str | Path], spec: ReadSpec = SPEC) -> list[str]:
    return [Path(file.url).name for file in resolve_inputs([str(path) for path in paths], spec)[0]]


def put(path: Path, data: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data or encode(path.name.partition(".")[2], ROWS))
    return path


def test_order_is_inputs_then_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("f/b.jsonl", "f/a/z.jsonl", "f/a.jsonl", "g/2.jsonl", "g/10.jsonl", "single.jsonl"):
        put(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    expected = ["single.jsonl", "a.jsonl", "z.jsonl", "b.jsonl", "10.jsonl", "2.jsonl"]
    assert names(["single.jsonl", "f/", "g/*.jsonl"]) == expected
    assert names([f"file://{tmp_path}/single.jsonl", tmp_path / "f", f"{tmp_path}/g/*"]) == expected


def test_what_a_folder_passes_over(tmp_path: Path) -> None:
    for name in ("a.parquet", "sub/b.pq", ".c.parquet", "_d.parquet", "_temporary/e.parquet", ".git/f.parquet"):
        put(tmp_path / name, parquet_bytes(ROWS))
    put(tmp_path / "README.md", b"words")
    put(tmp_path / "_SUCCESS", b"x")
    assert names([tmp_path]) == names([f"{tmp_path}/*.p*", tmp_path / "sub"]) == ["a.parquet", "b.pq"]
    assert names([f"{tmp_path}/**/*.p*"]) == ["a.parquet", "b.pq"]
    assert names([f"{tmp_path}/_d*"]) == ["_d.parquet"]
    assert names([f"{tmp_path}/_temp*/*.parquet"]) == ["e.parquet"]


def test_plain_and_compressed_files_are_one_format(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl.gz", "c.ndjson.zst", "d.JSON"):
        put(tmp_path / name, encode("jsonl" + {".gz": ".gz", ".zst": ".zst"}.get(Path(name).suffix, ""), ROWS))
    blocks, _ = read_all([tmp_path], SPEC)
    assert len(rows_of(blocks)) == 4 * len(ROWS)


def test_glob_characters_in_a_file_name(tmp_path: Path) -> None:
    assert names([put(tmp_path / "a[1].jsonl")]) == ["a[1].jsonl"]


def test_globs_of_folders(tmp_path: Path) -> None:
    for name in ("part-0/a.jsonl", "part-1/a.jsonl"):
        put(tmp_path / name)
    assert names([f"{tmp_path}/part-*"]) == ["a.jsonl", "a.jsonl"]


def test_inputs_that_are_nothing(tmp_path: Path) -> None:
    put(tmp_path / "mixed/a.jsonl")
    put(tmp_path / "mixed/b.csv")
    put(tmp_path / "other/a.docx", b"x")
    (tmp_path / "empty").mkdir()
    for given, message in [
        ("missing.jsonl", "missing.jsonl: no such file or folder"),
        ("mixed/a.jsonl/deeper", "deeper: no such file or folder"),
        ("missing/*.jsonl", r"missing/\*.jsonl: nothing matches"),
        ("mixed", r"different formats in one folder: a.jsonl \(jsonl\), b.csv \(csv\)"),
        ("empty", "empty: no file in this folder can be read"),
        ("other/a.docx", "a.docx: unknown file type"),
        ("other", "other: no file in this folder can be read"),
        ("other/*", "a.docx: unknown file type, from the input"),
    ]:
        with pytest.raises(InputError, match=message):
            resolve_inputs([str(tmp_path / given)], SPEC)
    for given in ("missing.jsonl", "empty", "other/a.docx"):
        with pytest.raises(InputError, match=r"Parquet \(.parquet .pq\), JSON lines"):
            resolve_inputs([str(tmp_path / given)], SPEC)
    with pytest.raises(InputError, match="no input was given"):
        resolve_inputs([], SPEC)
    with pytest.raises(InputError, match=r"a\.jsonl: named twice"):
        resolve_inputs([str(tmp_path / "mixed/a.jsonl"), f"{tmp_path}/mixed/*.jsonl"], SPEC)
    with pytest.raises(InputError, match="nosuchscheme"):
        resolve_inputs(["nosuchscheme://x/y.jsonl"], SPEC)


def test_default_columns(tmp_path: Path) -> None:
    def chosen(path: Path, spec: ReadSpec = ReadSpec()) -> tuple[str, ...]:  # noqa: B008
        return resolve_inputs([str(path)], spec)[1].text_columns

    assert chosen(put(tmp_path / "a.txt")) == ("text",)
    assert chosen(put(tmp_path / "a.parquet")) == ("text",)
    assert chosen(put(tmp_path / "a.csv", b"id,text,x\n1,2,3\n")) == ("text",)
    assert chosen(put(tmp_path / "b.csv", b"\xef\xbb\xbfbody\n1\n")) == ("body",)
    assert chosen(put(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"n": 1, "body": "x"}\n')) == ("body",)
    path = put(tmp_path / "c.csv", b"key,body\n1,x\n")
    assert chosen(path, ReadSpec("key")) == ("body",)
    with pytest.raises(InputError) as caught:
        chosen(path)
    assert "columns found: key (string), body (string)" in str(caught.value) and "--text-columns" in str(caught.value)


def test_the_first_file_with_rows_decides(tmp_path: Path) -> None:
    paths = [put(tmp_path / "0.jsonl", b"\n"), put(tmp_path / "1.csv", b"\n"), put(tmp_path / "2.jsonl")]
    blocks, scans = read_all(paths, ReadSpec("id"))
    assert [scan.rows for scan in scans] == [0, 0, len(ROWS)]
    assert rows_of(blocks) == [(number, *row) for number, row in enumerate(ROWS)]


def test_nothing_but_empty_files(tmp_path: Path) -> None:
    for extension in ("jsonl", "jsonl.gz", "csv", "txt"):
        path = tmp_path / f"empty.{extension}"
        path.write_bytes(b"")
        with pytest.raises(InputError, match="no input holds any row"):
            resolve_inputs([str(path)], ReadSpec())
        assert read_all([path], ReadSpec(text_columns=("text",)), staging=tmp_path / "staging")[0] == []


def test_csv_without_a_header(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", b'1,"a\nb",x\n2,c,y\n')
    spec = ReadSpec("key", ("one", "two"), columns=("key", "one", "two"))
    assert rows_of(read_all([path], spec, 1, mark_every=1)[0]) == [(0, "1", "a\nb x"), (1, "2", "c y")]
    with pytest.raises(InputError, match=r"a\.csv: 2 column names were given, but its rows have 3 fields"):
        resolve_inputs([str(path)], ReadSpec(columns=("key", "text")))
    with pytest.raises(InputError, match="column names were given, but no input is CSV"):
        resolve_inputs([str(put(tmp_path / "a.jsonl"))], ReadSpec(columns=("key", "text")))


def test_beir_folder(tmp_path: Path) -> None:
    corpus = b'{"_id": "d1", "title": "", "text": "body", "metadata": {}}\n{"_id": "d2", "title": "t", "text": "b"}\n'
    put(tmp_path / "corpus.jsonl", corpus)
    put(tmp_path / "queries.jsonl", b'{"_id": "q1", "text": "question"}\n')
    put(tmp_path / "qrels/test.tsv", b"query-id\tcorpus-id\tscore\n")
    blocks, _ = read_all([tmp_path], ReadSpec())
    assert rows_of(blocks) == [(0, "d1", " body"), (1, "d2", "t b")]
    blocks, _ = read_all([tmp_path], ReadSpec("title", ("text",)))
    assert rows_of(blocks) == [(0, "", "body"), (1, "t", "b")]


@pytest.mark.parametrize("shards", [1, 3])
def test_saved_dataset(tmp_path: Path, shards: int) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    dataset = datasets.Dataset.from_dict({"id": [i for i, _ in ROWS], "text": [t for _, t in ROWS]})
    dataset.save_to_disk(tmp_path / "one", num_shards=shards)
    expected = [(number, *row) for number, row in enumerate(ROWS)]
    assert rows_of(read_all([tmp_path / "one"], SPEC, 2)[0]) == expected
    datasets.DatasetDict({"train": dataset}).save_to_disk(tmp_path / "dict")
    assert rows_of(read_all([tmp_path / "dict"], SPEC, 2)[0]) == expected
    datasets.DatasetDict({"train": dataset, "test": dataset}).save_to_disk(tmp_path / "two")
    with pytest.raises(InputError, match=r"two: a DatasetDict with 2 splits: train, test\n  -> .*two/train"):
        resolve_inputs([str(tmp_path / "two")], SPEC)
    assert rows_of(read_all([tmp_path / "two" / "test"], SPEC, 2)[0]) == expected
    next((tmp_path / "one").glob("*.arrow")).unlink()
    with pytest.raises(InputError, match=r"\.arrow: no such file, but .*state\.json lists it"):
        resolve_inputs([str(tmp_path / "one")], SPEC)


def test_the_order_of_a_saved_dataset_is_that_of_its_state(tmp_path: Path) -> None:
    put(tmp_path / "a.arrow")
    put(tmp_path / "b.arrow")
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}]}')
    assert names([tmp_path]) == ["b.arrow", "a.arrow"]


def test_a_store_folder(tmp_path: Path) -> None:
    """A folder with a manifest and data/ is read from data/*.parquet alone."""
    put(tmp_path / "manifest.json", b"{}")
    put(tmp_path / "data/part-00000.parquet")
    put(tmp_path / "data/part-00000.json", b"{}")
    put(tmp_path / "rejects.parquet")
    assert names([tmp_path]) == ["part-00000.parquet"]


def test_parquet_string_types_and_only_the_row_groups_needed(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(20)]
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        column = pa.array(texts)
        column = column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)
        for id_type in (pa.int8(), pa.uint16(), pa.uint64(), pa.large_string()):
            ids = pa.array(range(20)).cast(pa.string()).cast(id_type)
            pq.write_table(pa.table({"id": ids, "text": column}), tmp_path / "a.parquet", row_group_size=6)
            blocks, (scan,) = read_all([tmp_path / "a.parquet"], SPEC, 7)
            assert [text for _, _, text in rows_of(blocks)] == texts
            assert {str(block.ids.type) for block in blocks} == {scan.id_kind}
            assert scan.marks[:, 0].tolist() == [0, 6, 12, 18]


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        return read_all([path], SPEC)[1][0].digest

    plain = digest(put(tmp_path / "a.jsonl"))
    assert digest(put(tmp_path / "b.jsonl.gz")) == plain
    assert digest(put(tmp_path / "c.jsonl", jsonl_bytes(ROWS[:-1]))) != plain
    assert digest(put(tmp_path / "a.parquet")) != digest(put(tmp_path / "b.parquet", parquet_bytes(ROWS[:-1])))


def test_null_says_nothing_of_a_key(tmp_path: Path) -> None:
    lines = ['{"a": null, "b": [1], "c": 1}', '{"a": 2, "b": null, "c": "x", "d": null}', '{"c": null}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    columns = input_columns([str(tmp_path)], ReadSpec())
    assert list(columns) == [("a", "integer"), ("b", "array"), ("c", "string"), ("d", "null")]
