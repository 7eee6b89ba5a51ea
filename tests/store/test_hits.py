"""Stores of hits: three formats that hold the same, damaged parts, and the runs of other tools."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.hits import (
    KIND,
    SUFFIXES,
    HitsFormat,
    hits_bytes,
    hits_table,
    open_hits,
    read_hits,
    read_hits_file,
)
from st_ray.store.manifest import Manifest, ShardEntry

FORMATS: tuple[HitsFormat, ...] = ("parquet", "trec", "jsonl")


def small_table(*, numbers: bool = False) -> pa.Table:
    """Three queries, the second without hits."""
    queries = pa.array([7, 8, 9]) if numbers else pa.array(["q7", "q8", "q9"])
    documents = pa.array([30, 10, 20, 10]) if numbers else pa.array(["c", "a", "NULL", "2020-01-01"])
    return hits_table(queries, [2, 0, 2], documents, np.array([0.5, 0.1, 1e-7, -1], np.float32))


def stored(folder: Path, data: bytes, suffix: str, rows: int) -> ShardEntry:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / f"part-00000{suffix}").write_bytes(data)
    return ShardEntry(f"part-00000{suffix}", rows, 0, len(data), "")


def run_file(folder: Path, text: str, name: str = "a.run") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_rows_stand_by_query_and_rank() -> None:
    assert small_table().to_pylist() == [
        {"query_id": "q7", "rank": 1, "corpus_id": "c", "score": 0.5},
        {"query_id": "q7", "rank": 2, "corpus_id": "a", "score": np.float32(0.1)},
        {"query_id": "q9", "rank": 1, "corpus_id": "NULL", "score": np.float32(1e-7)},
        {"query_id": "q9", "rank": 2, "corpus_id": "2020-01-01", "score": -1.0},
    ]
    assert [str(kind) for kind in small_table(numbers=True).schema.types] == ["int64", "int32", "int64", "float"]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="3 hits counted"):
        hits_table(pa.array(["a", "b"]), [2, 1], pa.array(["x"]), np.zeros(1, np.float32))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("numbers", [False, True])
def test_a_part_reads_back(tmp_path: Path, form: HitsFormat, numbers: bool) -> None:
    table = small_table(numbers=numbers)
    entry = stored(tmp_path, hits_bytes(table, form), SUFFIXES[form], 4)
    found = read_hits(str(tmp_path), entry)
    if form == "trec":  # it holds text alone
        for name in ("query_id", "corpus_id"):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
    assert found.equals(table)
    assert read_hits_file(str(tmp_path / "data" / entry.name)).equals(table)
    assert hits_bytes(table, form) == hits_bytes(found, form)


def test_the_text_formats() -> None:
    assert hits_bytes(small_table(), "trec").decode().splitlines()[1:3] == [
        "q7 Q0 a 2 0.1 st-ray",
        "q9 Q0 NULL 1 1e-7 st-ray",
    ]
    lines = hits_bytes(small_table(numbers=True), "jsonl").decode().splitlines()
    assert lines[0] == '{"query_id": 7, "rank": 1, "corpus_id": 30, "score": 0.5}'
    assert [json.loads(line)["corpus_id"] for line in lines] == [30, 10, 20, 10]


@pytest.mark.parametrize("form", FORMATS)
def test_a_part_without_hits(tmp_path: Path, form: HitsFormat) -> None:
    empty = hits_table(pa.array(["q"]), [0], pa.array([], pa.string()), np.zeros(0, np.float32))
    entry = stored(tmp_path, hits_bytes(empty, form), SUFFIXES[form], 0)
    assert read_hits(str(tmp_path), entry).equals(empty)


IDS = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=5)
WORDS = IDS.filter(lambda text: text.split() == [text])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, IDS, st.floats(width=32, allow_nan=False, allow_infinity=False)), min_size=1))
def test_any_ids_and_scores_survive(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    words, texts, scores = zip(*rows, strict=True)
    folder = tmp_path_factory.mktemp("hits")
    for form, ids in (("trec", words), ("jsonl", texts), ("parquet", texts)):
        table = hits_table(pa.array(["q"]), [len(rows)], pa.array(ids), np.array(scores, np.float32))
        entry = stored(folder, hits_bytes(table, form), SUFFIXES[form], len(rows))
        found = read_hits(str(folder), entry)
        assert found["corpus_id"].to_pylist() == list(ids)
        assert found["score"].to_numpy().tobytes() == np.array(scores, np.float32).tobytes()


@pytest.mark.parametrize("bad", ["a b", "tab\tbed", "no\u00a0break", "line\u2028end", "unit\x1fend", ""])
def test_whitespace_does_not_fit_into_a_run(bad: str) -> None:
    table = hits_table(pa.array(["q"]), [2], pa.array(["fine", bad]), np.zeros(2, np.float32))
    with pytest.raises(InputError, match=r"corpus_id .* cannot stand in a TREC run") as error:
        hits_bytes(table, "trec")
    assert repr(bad) in error.value.message
    assert "jsonl" in error.value.remedy


def test_json_has_no_infinity() -> None:
    table = hits_table(pa.array(["q"]), [1], pa.array(["d"]), np.array([-np.inf], np.float32))
    with pytest.raises(InputError, match=r"query 'q': .*-inf"):
        hits_bytes(table, "jsonl")


def test_only_hits_are_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        open_hits(str(tmp_path))
    for kind in ("embeddings", KIND):
        (tmp_path / "manifest.json").write_bytes(Manifest(kind, {}, ()).to_json())
        if kind == KIND:
            assert open_hits(str(tmp_path)).kind == KIND
        else:
            with pytest.raises(InputError, match="holds embeddings, not hits"):
                open_hits(str(tmp_path))


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_parts_are_named(tmp_path: Path, form: HitsFormat) -> None:
    data = hits_bytes(small_table(), form)
    entry = stored(tmp_path, data[:-9], SUFFIXES[form], 4)
    with pytest.raises(InputError, match=f"part-00000{SUFFIXES[form]}"):
        read_hits(str(tmp_path), entry)
    entry = stored(tmp_path, data, SUFFIXES[form], 5)
    with pytest.raises(InputError, match=r"part-00000.* has 4 hits, its manifest says 5"):
        read_hits(str(tmp_path), entry)
    (tmp_path / "data" / entry.name).unlink()
    with pytest.raises(InputError, match=r"part-00000.*no such file"):
        read_hits(str(tmp_path), entry)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 d 1 0.5 x\n\nq Q0 e 2 0.4\n", "line 3: 5 fields where 6 are expected"),
        ("q Q0 d 1 0.5 x\r\nq Q0 e two 0.4 x\r\n", "line 2: rank 'two' is not a whole number"),
        ("\nq Q0 d 1 high x\n", "line 2: score 'high' is not a number"),
        ("q Q0 d 1 nan x\n", "line 1: the score is not a number"),
        ("q d\n", r"line 1: 2 fields where 6 \(query_id"),
        ("q Q0 d 1 0.5 x\nq Q0 \udcff 2 0.5 x\n", "line 2: not UTF-8"),
    ],
)
def test_bad_lines_of_a_run(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.run").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=rf"a\.run, {message}"):
        read_hits_file(str(tmp_path / "a.run"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"query_id": "q", "corpus_id": "d", "rank": 1, "score": 1}\n{"query_id"', "line 2: not JSON"),
        ('{"query_id": "q", "corpus_id": "d", "score": 1}\n[]', "line 2: not a JSON object"),
        (
            '{"query_id": "q", "corpus_id": "d", "score": 1}\n\n{"query_id": 3, "corpus_id": "d", "score": 1}',
            "line 3: query_id is 3, int where it was str",
        ),
        ('{"query_id": "q", "corpus_id": "d", "score": 1}\n{"corpus_id": "d", "score": 1}', "line 2: no query_id"),
        ('{"query": "q", "corpus_id": "d", "score": 1}', "has no column query_id"),
    ],
)
def test_bad_json_lines(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_hits_file(run_file(tmp_path, text, "a.jsonl"))
    assert "a.jsonl" in error.value.message


def test_a_run_with_tabs_blanks_and_scattered_queries(tmp_path: Path) -> None:
    text = "b  Q0\td2 9 0.1 tool\n a Q0 d1 1 0.7 tool \r\nb Q0 d3 4 0.2 tool"
    for name, content in (("a.txt", text.encode()), ("a.run.gz", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(content)
        found = read_hits_file(str(tmp_path / name))
        assert found.select(["query_id", "rank", "corpus_id"]).to_pylist() == [
            {"query_id": "b", "rank": 1, "corpus_id": "d3"},
            {"query_id": "b", "rank": 2, "corpus_id": "d2"},
            {"query_id": "a", "rank": 1, "corpus_id": "d1"},
        ]


def test_ranks_outweigh_scores_unless_they_say_nothing(tmp_path: Path) -> None:
    by_rank = read_hits_file(run_file(tmp_path, "q Q0 x 0 1 t\nq Q0 y 1 9 t\nq Q0 z 2 9 t\n"))
    assert by_rank["corpus_id"].to_pylist() == ["x", "y", "z"]
    by_score = read_hits_file(run_file(tmp_path, "q Q0 x 0 1 t\nq Q0 y 0 9 t\nq Q0 z 0 9 t\n"))
    assert by_score["corpus_id"].to_pylist() == ["y", "z", "x"]
    assert by_score["rank"].to_pylist() == [1, 2, 3]


def test_parquet_of_another_tool(tmp_path: Path) -> None:
    table = pa.table(
        {
            "score": pa.array([0.25, 0.75]),
            "corpus_id": pa.array(["x", "y"]).dictionary_encode(),
            "query_id": pa.array([5, 5], pa.int32()),
            "extra": pa.array([None, None]),
        }
    )
    pq.write_table(table, tmp_path / "run.parquet")
    found = read_hits_file(str(tmp_path / "run.parquet"))
    assert found.to_pylist() == [
        {"query_id": 5, "rank": 1, "corpus_id": "y", "score": 0.75},
        {"query_id": 5, "rank": 2, "corpus_id": "x", "score": 0.25},
    ]
    pq.write_table(table.drop_columns("score"), tmp_path / "run.parquet")
    with pytest.raises(InputError, match=r"run\.parquet has no column score"):
        read_hits_file(str(tmp_path / "run.parquet"))
    pq.write_table(table.set_column(2, "query_id", pa.array([0.5, 0.5])), tmp_path / "run.parquet")
    with pytest.raises(InputError, match="query_id is double"):
        read_hits_file(str(tmp_path / "run.parquet"))


def test_candidates_without_a_score(tmp_path: Path) -> None:
    table = hits_table(pa.array(["q"]), [2], pa.array([3, 4]), [np.nan, 1.0])
    data = hits_bytes(table, "parquet")
    fs.write_atomic(f"{tmp_path}/data/part-00000.parquet", data)
    entry = ShardEntry("part-00000.parquet", 2, 0, len(data), "")
    found = read_hits(str(tmp_path), entry, unscored=True)
    assert np.isnan(found["score"].to_numpy()).tolist() == [True, False]
    with pytest.raises(InputError, match=r"part-00000\.parquet, row 1: the score is not a number"):
        read_hits(str(tmp_path), entry)
