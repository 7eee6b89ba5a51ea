"""Candidates on a real Ray: in any number of tasks, resumed, refused, and on an object store."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from unittest import mock

import pytest

from st_ray.core.errors import InputError
from st_ray.runtime.rerank.candidates import CandidateRequest, prepare_candidates
from st_ray.runtime.session import data_context
from st_ray.runtime.texts_by_id.staged import text_request
from st_ray.store import fs
from st_ray.store.hit_sets import open_hit_set
from st_ray.store.readers.spec import ReadSpec
from tests.runtime.test_candidates import Case, Hits, Id, Pair, Sizes, expected, pairs_of, write_hits

pytestmark = pytest.mark.usefixtures("local_ray")

QUERIES: dict[Id, str] = {f"q{number}": f"query {number}" for number in range(20)}
CORPUS: dict[Id, str] = {number * 3: f"text {number}" for number in range(50)}
HITS: Hits = [(query, [str(3 * (7 * n + m) % 150) for m in range(1 + n % 6)]) for n, query in enumerate(QUERIES)]
MANY = Sizes(
    text_files=2,
    text_shard_rows=4,
    hits_parts=3,
    hits_format="trec",
    shard_pairs=9,
    bucket_rows=20,
    text_rows=8,
    part_pairs=10,
)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    data_context()


def together(shards: list[list[Pair]]) -> list[Pair]:
    return list(itertools.chain(*shards))


def test_many_tasks_resumed_and_repeated(tmp_path: Path) -> None:
    case = Case(QUERIES, CORPUS, HITS, sizes=MANY)
    first = case.prepare(tmp_path)
    assert together(pairs_of(first)) == expected(case)
    assert len(first.shards) == 8
    staged = tmp_path / "out" / "staging" / "candidates"
    parts = {path.name: path.read_bytes() for path in (staged / "data").iterdir()}
    assert len(parts) > 10 and not (staged / "staging").exists()
    # Cut short before its end: everything is done again but the parts that are there.
    for gone in ("manifest.json", "plan.json", "commits/part-00001.json", "data/part-00003.parquet"):
        (staged / gone).unlink()
    kept = (staged / "data" / "part-00000.parquet").stat().st_mtime_ns
    again = case.prepare(tmp_path)
    assert {path.name: path.read_bytes() for path in (staged / "data").iterdir()} == parts
    assert (staged / "data" / "part-00000.parquet").stat().st_mtime_ns == kept
    assert again == first


def test_a_single_file_and_mistakes_in_it(tmp_path: Path) -> None:
    sizes = Sizes(single_file=True, shard_pairs=9, part_pairs=10, hits_format="jsonl")
    case = Case(QUERIES, CORPUS, HITS, sizes=sizes)
    assert together(pairs_of(case.prepare(tmp_path))) == expected(case)
    for mistake, message in (
        ([("q1", ["6", "7"])], r"hits\.jsonl: query 'q1' has the document '7', which has no text"),
        ([("q1", ["6", "3", "6"])], r"query 'q1' has the document '6' twice"),
        ([("q1", ["6"]), ("nobody", ["6"])], r"query 'nobody' has no text in .*queries-0\.jsonl"),
    ):
        with pytest.raises(InputError, match=message):
            Case(QUERIES, CORPUS, mistake, sizes=sizes).prepare(tmp_path)


def test_in_the_document_and_everywhere(tmp_path: Path) -> None:
    own = [number % 7 for number in range(20)]
    there = [str(number % 7) for number in range(50)]
    case = Case(QUERIES, CORPUS, None, (own, there), sizes=MANY)
    wanted = [
        (query, query_text, str(key), text)
        for (query, query_text), mine in zip(QUERIES.items(), own, strict=True)
        for (key, text), document in zip(CORPUS.items(), there, strict=True)
        if document == str(mine)
    ]
    assert [pair[:4] for pair in together(pairs_of(case.prepare(tmp_path)))] == wanted
    everywhere = Case(dict(list(QUERIES.items())[:4]), CORPUS, sizes=MANY).prepare(tmp_path)
    assert [pair[:4] for pair in together(pairs_of(everywhere))] == [
        (f"q{n}", f"query {n}", str(key), text) for n in range(4) for key, text in CORPUS.items()
    ]


def test_on_an_object_store(s3: str, tmp_path: Path) -> None:
    place = f"{s3}/{tmp_path.name}"
    for name, texts in (("queries", QUERIES), ("corpus", CORPUS)):
        rows = "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items())
        fs.write_atomic(f"{place}/{name}.jsonl", rows.encode())
    spec = ReadSpec(id_column="id", text_columns=("text",))
    sides = [text_request([f"{place}/{name}.jsonl"], spec, "fail", f"{place}/out") for name in ("queries", "corpus")]
    hits = open_hit_set(write_hits(f"{place}/hits", HITS, Sizes(hits_parts=3)))
    request = CandidateRequest(*sides, hits, shard_pairs=9)
    prepared = prepare_candidates(request, f"{place}/out", mock.Mock(lost=False))
    assert together(pairs_of(prepared)) == expected(Case(QUERIES, CORPUS, HITS))
    assert prepare_candidates(request, f"{place}/out", mock.Mock(lost=False)) == prepared
