"""Judgements in all their formats, and what is wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_ray.core.errors import InputError
from st_ray.evaluation.qrels import Qrels, read_qrels
from tests.conftest import DATA

JUDGED = {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": 2}}


def as_dict(qrels: Qrels) -> dict[str, dict[str, int]]:
    return {query: qrels.of_query(at) for at, query in enumerate(qrels.query_ids.to_pylist())}


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td1\t2\nq1\td2\t0\n"),
        ("a.tsv", "q1\td1\t1\r\nq1\td2\t0\r\n\r\nq2\td1\t2"),
        ("a.tsv.gz", "q1\td1\t1\nq1\td2\t0\nq2\td1\t2\n"),
        ("a.qrels", "q1 0 d1 1\nq1  0 d2\t0\nq2 0 d1 2\n"),
        ("a.txt", "\ufeffqid 0 docid rel\nq1 0 d1 1\nq1 0 d2 -1\nq2 0 d1 2\n"),
        ("qrels.dev.tsv", "q1\t0\td1\t1\nq1\t0\td2\t0\nq2\t0\td1\t2\nq2\t0\td1\t2\n"),
        (
            "a.jsonl",
            '{"query_id": "q1", "corpus_id": "d1", "score": 1}\n{"query_id": "q1", "corpus_id": "d2", "score": 0.0}\n'
            '{"query_id": "q2", "corpus_id": "d1", "score": 2}\n',
        ),
    ],
)
def test_every_format_holds_the_same(tmp_path: Path, name: str, text: str) -> None:
    qrels = read_qrels(written(tmp_path / name, text))
    assert as_dict(qrels) == JUDGED
    assert qrels.relevant.tolist() == [1, 1]
    assert qrels.digest == Qrels.from_dict(JUDGED).digest


def test_parquet_with_integer_ids(tmp_path: Path) -> None:
    table = pa.table({"query-id": [3, 3, 1], "corpus-id": [10, 11, 10], "score": [1, 1, 1]})
    pq.write_table(table, tmp_path / "a.parquet")
    qrels = read_qrels(str(tmp_path / "a.parquet"))
    assert as_dict(qrels) == {"3": {"10": 1, "11": 1}, "1": {"10": 1}}
    assert qrels.positions(pa.array(["1", "2", "3"])).tolist() == [1, -1, 0]


def test_ids_may_hold_blanks_between_tabs(tmp_path: Path) -> None:
    qrels = read_qrels(written(tmp_path / "a.tsv", "query-id\tcorpus-id\tscore\na b\tNA\t1\n"))
    assert as_dict(qrels) == {"a b": {"NA": 1}}


def test_the_digest_tells_judgements_apart() -> None:
    other = (
        {"q1": {"d1": 1, "d2": 1}, "q2": {"d1": 2}},
        {"q1": {"d1": 1}, "q2": {"d2": 0, "d1": 2}},
        {"q1d": {"1": 1}},
    )
    digests = {Qrels.from_dict(judged).digest for judged in (JUDGED, *other)}
    assert len(digests) == 4


def test_folders(tmp_path: Path) -> None:
    written(tmp_path / "beir" / "qrels" / "test.tsv", "q1\td1\t1\n")
    assert as_dict(read_qrels(str(tmp_path / "beir"))) == {"q1": {"d1": 1}}
    written(tmp_path / "beir" / "qrels" / "dev.tsv", "q2\td1\t1\n")
    assert as_dict(read_qrels(str(tmp_path / "beir" / "qrels"))) == {"q1": {"d1": 1}}
    written(tmp_path / "two" / "dev.tsv.gz", "q2\td1\t1\n")
    assert as_dict(read_qrels(str(tmp_path / "two"))) == {"q2": {"d1": 1}}
    written(tmp_path / "two" / "train.tsv", "q1\td1\t1\n")
    with pytest.raises(InputError, match=r"which split\? It holds dev\.tsv\.gz, train\.tsv"):
        read_qrels(str(tmp_path / "two"))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"which split\? It holds no file"):
        read_qrels(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 0 d1 1\n\nq1 0 d2\n", "line 3: 3 fields where 4 are expected"),
        ("q1\td1\n", r"line 1: 2 fields where 3 \(query_id corpus_id score\) or 4 "),
        ("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\tyes\n", "line 3: score 'yes' is not a number"),
        ("q1\td1\tx\n", "line 1: score 'x' is not a number"),
        ("q1\td1\t1\nq1\td2\t0.5\n", r"line 2: the relevance 0\.5 is not a whole number"),
        ("q1\td1\tnan\n", "line 1: the relevance nan"),
        ("q1\td1\t1\nq2\td1\t1\nq1\td1\t2\n", r"line 3: query 'q1' and document 'd1' .*a\.tsv, line 1"),
        ("q1\td1\t0\nq2\td1\t-1\n", r"calls no document relevant \(2 judgements\)"),
        ("\n", r"calls no document relevant \(0 judgements\)"),
    ],
)
def test_bad_judgements_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_qrels(written(tmp_path / "a.tsv", text))
    assert "a.tsv" in error.value.message


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tsv: no such file"):
        read_qrels(str(tmp_path / "none.tsv"))


def test_real_judgements() -> None:
    if not DATA.exists():
        pytest.skip(f"{DATA} is not there")
    qrels = read_qrels(str(DATA / "cranfield"))
    assert (qrels.judged, int(qrels.relevant.sum())) == (225, 1612)
