"""The retrieval evaluation: figures of any cut, resume, and inputs that do not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs._cli import parse
from st_ray.core.errors import ConfigError, InputError, OutputError
from st_ray.runtime.config import Names
from st_ray.runtime.evaluation.retrieval import (
    EvaluateRetrievalConfig,
    evaluate_retrieval,
    evaluate_retrieval_summary,
)
from st_ray.runtime.result import JobResult
from st_ray.store import fs
from st_ray.store.hits import KIND, SUFFIXES, HitsFormat, hits_bytes, hits_table
from st_ray.store.manifest import Manifest, read_manifest
from st_ray.store.output import OutputFolder, Part, part_name
from tests.conftest import ROOT

RANKINGS: dict[str, list[str]] = {
    "q1": ["a", "b", "c"],
    "q2": ["c", "a"],
    "unjudged": ["a"],
    "q3": ["b"],
    "q4": ["b", "c", "a", "d"],
}
QRELS = {"q1": "a", "q2": "a", "q3": "d", "q4": "a", "absent": "a", "graded-0": None}
MEANS = {"mrr@10": (1 + 1 / 2 + 0 + 1 / 3 + 0) / 5, "recall@1": 1 / 5}


def write_hits(folder: str, cuts: tuple[int, ...] = (), form: HitsFormat = "parquet", **rankings: list[str]) -> str:
    """A finished folder of hits, its queries cut into parts."""
    output = OutputFolder(folder, KIND)
    output.clear()
    writer = output.begin({"format": form})
    found = list((rankings or RANKINGS).items())
    entries = []
    for number, (begin, end) in enumerate(zip((0, *cuts), (*cuts, len(found)), strict=True)):
        queries, documents = [query for query, _ in found[begin:end]], [document for _, document in found[begin:end]]
        flat = [document for ranking in documents for document in ranking]
        table = hits_table(
            pa.array(queries, pa.string()), [len(ranking) for ranking in documents], pa.array(flat), np.zeros(len(flat))
        )
        name = part_name(number, len(cuts) + 1, SUFFIXES[form])
        entries.append(writer.commit(name, Part(hits_bytes(table, form), len(table), begin)))
    output.finish(Manifest(KIND, {"format": form}, tuple(entries), {"format": form}))
    return folder


@pytest.fixture
def qrels(tmp_path: Path) -> str:
    lines = [f"{query}\t{document or 'a'}\t{int(document is not None)}" for query, document in QRELS.items()]
    path = tmp_path / "qrels.tsv"
    path.write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n")
    return str(path)


def evaluate(hits: str, qrels: str, output: Path | str, **changes: Any) -> JobResult:
    settings = {"metrics": Names(("mrr@10", "recall@1")), **changes}
    return evaluate_retrieval(EvaluateRetrievalConfig(hits=hits, qrels=qrels, output=str(output), **settings))


def parts_of(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder, "data").iterdir()}


def test_the_output(tmp_path: Path, qrels: str) -> None:
    hits = write_hits(str(tmp_path / "hits"), (2, 4))
    result = evaluate(hits, qrels, tmp_path / "out")
    manifest = read_manifest(str(tmp_path / "out"))
    assert manifest == result.manifest
    assert manifest.about == {
        "metrics": pytest.approx(MEANS, abs=1e-12),
        "queries_judged": 5,
        "queries_without_hits": 1,
        "queries_without_judgements": 1,
        "queries_without_relevant_documents": 1,
        "queries_with_hits": 5,
        "hits": 11,
    }
    assert [(entry.rows, entry.first_row) for entry in manifest.entries] == [(2, 0), (1, 5), (1, 7), (1, 11)]
    table = pq.read_table(tmp_path / "out" / "data")
    assert table.column_names == ["query_id", "mrr@10", "recall@1"]
    assert table["query_id"].to_pylist() == ["q1", "q2", "q3", "q4", "absent"]
    for name, mean in manifest.about["metrics"].items():
        assert np.mean(table[name].to_numpy()) == pytest.approx(mean, abs=1e-12)
    shown = evaluate_retrieval_summary(result)
    assert "mrr@10        0.366667" in shown
    assert "5 queries that the judgements have a relevant document for" in shown
    assert "1 of them, counted as 0" in shown


@pytest.mark.parametrize("form", ["parquet", "trec", "jsonl"])
def test_any_cut_and_format_gives_the_same(tmp_path: Path, qrels: str, form: HitsFormat) -> None:
    whole = evaluate(write_hits(str(tmp_path / "whole")), qrels, tmp_path / "a").manifest.about
    cut = write_hits(str(tmp_path / "cut"), (0, 1, 2, 3, 4, 5), form)
    assert evaluate(cut, qrels, tmp_path / "b").manifest.about == whole
    run = str(tmp_path / "whole" / "data" / "part-00000.parquet")
    assert evaluate(run, qrels, tmp_path / "c").manifest.about == whole


def test_on_an_object_store(s3: str, tmp_path: Path, qrels: str) -> None:
    place = f"{s3}/{tmp_path.name}"
    fs.write_atomic(f"{place}/beir/qrels/test.tsv", Path(qrels).read_bytes())
    hits = write_hits(f"{place}/hits", (3,))
    assert evaluate(hits, f"{place}/beir", f"{place}/out").manifest.about["metrics"] == pytest.approx(MEANS)
    assert evaluate(hits, f"{place}/beir", f"{place}/out").already_complete


def test_a_second_run_has_nothing_to_do(tmp_path: Path, qrels: str) -> None:
    hits = write_hits(str(tmp_path / "hits"))
    first = evaluate(hits, qrels, tmp_path / "out")
    again = evaluate(hits, qrels, tmp_path / "out")
    assert (first.already_complete, again.already_complete) == (False, True)
    assert "complete already" in evaluate_retrieval_summary(again)
    assert again.manifest == first.manifest


def test_a_cut_short_run_goes_on(tmp_path: Path, qrels: str) -> None:
    hits = write_hits(str(tmp_path / "hits"), (1, 2, 3))
    first = evaluate(hits, qrels, tmp_path / "out")
    before = parts_of(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "commits" / "part-00001.json").unlink()
    (tmp_path / "out" / "data" / "part-00003.parquet").write_bytes(b"torn")
    kept = (tmp_path / "out" / "data" / "part-00000.parquet").stat().st_mtime_ns
    again = evaluate(hits, qrels, tmp_path / "out")
    assert (again.manifest.about, again.manifest.entries) == (first.manifest.about, first.manifest.entries)
    assert parts_of(tmp_path / "out") == before
    assert (tmp_path / "out" / "data" / "part-00000.parquet").stat().st_mtime_ns == kept


@pytest.mark.parametrize("named", ["hits", "qrels", "metrics"])
def test_other_inputs_are_refused_by_name(tmp_path: Path, qrels: str, named: str) -> None:
    hits = write_hits(str(tmp_path / "hits"))
    evaluate(hits, qrels, tmp_path / "out")
    changes: dict[str, Any] = {}
    if named == "hits":
        write_hits(hits, q1=["b", "a"])
    elif named == "qrels":
        Path(qrels).write_text(Path(qrels).read_text() + "q5\ta\t1\n")
    else:
        changes["metrics"] = Names(("mrr@9",))
    with pytest.raises(OutputError, match=rf"(?m)^ +{named}: ") as error:
        evaluate(hits, qrels, tmp_path / "out", **changes)
    assert str(error.value).count(" before, ") == 1
    evaluate(hits, qrels, tmp_path / "out", overwrite=True, **changes)


def test_hits_and_judgements_of_different_queries(tmp_path: Path, qrels: str) -> None:
    hits = write_hits(str(tmp_path / "hits"), (1,), other=["a"], another=["a"])
    with pytest.raises(InputError, match=r"hits have queries such as 'other', the judgements such as 'q1'"):
        evaluate(hits, qrels, tmp_path / "out")
    # The mistake leaves nothing behind that a second try would stumble over.
    assert evaluate(write_hits(hits), qrels, tmp_path / "out").manifest.about["queries_judged"] == 5


def test_no_hits_at_all(tmp_path: Path, qrels: str) -> None:
    for number, hits in enumerate((write_hits(str(tmp_path / "hits"), q1=[]), str(tmp_path / "empty.run"))):
        (tmp_path / "empty.run").touch()
        with pytest.raises(InputError, match="holds no hits"):
            evaluate(hits, qrels, tmp_path / f"out-{number}")


def test_bad_inputs_are_named(tmp_path: Path, qrels: str) -> None:
    hits = write_hits(str(tmp_path / "hits"), (2,))
    with pytest.raises(InputError, match=r"nowhere: no such file"):
        evaluate(str(tmp_path / "nowhere"), qrels, tmp_path / "out")
    with pytest.raises(InputError, match=r"nowhere: no such file"):
        evaluate(hits, str(tmp_path / "nowhere"), tmp_path / "out")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        evaluate(str(tmp_path), qrels, tmp_path / "out")
    with pytest.raises(ConfigError, match="'ndgc@10' is no metric"):
        evaluate(hits, qrels, tmp_path / "out", metrics=Names(("ndgc@10",)))
    assert not (tmp_path / "out").exists()
    twice = write_hits(str(tmp_path / "twice"), q1=["a", "a"])
    with pytest.raises(InputError, match=r"part-00000\.parquet: query 'q1' has the document 'a' twice"):
        evaluate(twice, qrels, tmp_path / "out")
    (tmp_path / "hits" / "data" / "part-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"part-00001\.parquet: no such file"):
        evaluate(hits, qrels, tmp_path / "out", overwrite=True)


def test_the_command_starts_no_ray(tmp_path: Path, qrels: str) -> None:
    run = tmp_path / "some.trec"
    run.write_text("q1 Q0 a 1 0.5 tool\nq2 Q0 a 1 0.5 tool\n")
    script = (
        "import sys; from jobs.evaluate_retrieval import main; main(); assert not {'ray', 'torch'} & set(sys.modules)"
    )
    flags = ["--hits", str(run), "--qrels", qrels, "--output", str(tmp_path / "out"), "--metrics", "Hit@1,ndcg@10"]
    done = subprocess.run([sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"done: {tmp_path / 'out'}"
    assert "hit@1         0.400000" in done.stdout
    assert json.loads((tmp_path / "out" / "run.json").read_text())["lineage"]["metrics"] == ["hit@1", "ndcg@10"]


def test_flags() -> None:
    config = parse(EvaluateRetrievalConfig, ["--hits", "h", "--qrels", "q", "--output", "o"])
    assert config.metrics == ("ndcg@10", "mrr@10", "map@100", "recall@100")
