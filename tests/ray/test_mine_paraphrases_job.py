"""The paraphrase job on a real Ray: any actors, by an index, from texts, resumed after faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from st_ray import paraphrase_mining_embeddings
from st_ray.core.errors import ConfigError, InputError, OutputError
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.mining.paraphrases import blocks, stages
from st_ray.runtime.mining.paraphrases.config import MineParaphrasesConfig
from st_ray.runtime.mining.paraphrases.job import mine_paraphrases
from st_ray.runtime.mining.paraphrases.summary import mine_paraphrases_summary
from st_ray.runtime.result import JobResult
from st_ray.scoring import similarity
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.output import OutputFolder
from st_ray.store.pairs import read_pairs
from tests.ray.corpora import texts_of, write_jsonl
from tests.stores import vectors, write_store
from tests.stubs import StubLoader, stub_embeddings

pytestmark = pytest.mark.usefixtures("local_ray")

ROWS = vectors(300)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver plans with; workers get it with their tasks."""
    monkeypatch.setattr(blocks, "_LEAST_ROWS", 80)
    monkeypatch.setattr(blocks, "_MOST_ROWS", 80)
    monkeypatch.setattr(stages, "PART_PAIRS", 400)
    monkeypatch.setattr(stages, "ASKED_ROWS", 110)


@pytest.fixture
def store(tmp_path: Path) -> str:
    rows = ROWS.copy()
    rows[np.arange(0, 300, 7)] = rows[11]
    return write_store(tmp_path / "store", rows)


def run(output: Path | str, loader: StubLoader | None = None, **changes: Any) -> JobResult:
    return mine_paraphrases(MineParaphrasesConfig(output=str(output), **changes), loader)


def table_of(result: JobResult) -> pa.Table:
    return pa.concat_tables(read_pairs(result.folder, entry) for entry in result.manifest.entries)


def listed(result: JobResult) -> list[list[float | int]]:
    table = table_of(result)
    ids = ([int(identity[1:]) for identity in table[name].to_pylist()] for name in ("id_1", "id_2"))
    return [list(pair) for pair in zip(table["score"].to_pylist(), *ids, strict=True)]


def expected(rows: np.ndarray, name: str = "cos_sim", **options: int) -> list[list[float | int]]:
    return paraphrase_mining_embeddings(torch.from_numpy(rows), score_function=getattr(similarity, name), **options)


def rows_of(store: str) -> np.ndarray:
    opened = StoredVectors.open(store)
    return opened.take(np.arange(opened.rows))


@pytest.mark.slow
def test_a_damaged_store_an_interruption_and_another_number_of_actors(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, asked = tmp_path / "out", {"embeddings": store, "top_k": 6, "max_pairs": 900}
    part = Path(store, "data", "part-00001.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:300])
    with pytest.raises(InputError, match=r"cannot read .*part-00001\.parquet"):
        run(out, **asked, actors="1")
    part.write_bytes(whole)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OutputFolder, "finish", stop)
        run(out, **asked, actors="2", cpus_per_actor=1.0)
    compared = sorted(out.glob("staging/*/compare/data/*"))
    assert len(compared) == 10
    compared[3].unlink()
    compared[7].write_bytes(b"torn")
    result = run(out, **asked, actors="1")
    done = result.manifest.run["shards_done_before"]
    assert {count for name, count in done.items() if name.endswith("compare")} == {8}
    assert done["write"] == len(result.manifest.entries) == 3
    assert "compare 8" in mine_paraphrases_summary(result)
    assert listed(result) == expected(rows_of(store), top_k=6, max_pairs=900)
    again = run(out, **asked)
    assert again.already_complete
    assert "complete already" in mine_paraphrases_summary(again)
    assert (out / "report.html").exists()


@pytest.mark.slow
def test_an_index_that_finds_everything_and_one_that_does_not(store: str, tmp_path: Path) -> None:
    truth = expected(rows_of(store), top_k=6, max_pairs=900)
    index = str(tmp_path / "index")
    build_index(BuildIndexConfig(embeddings=store, output=index, factory="IVF16,Flat", target_recall=0, part_rows=130))
    whole = run(tmp_path / "whole", index=index, nprobe=16, top_k=6, max_pairs=900, recall_rows=70)
    recall = whole.manifest.about["recall"]
    assert (recall["recall"], recall["rows"]) == (1.0, 70)
    assert listed(whole) == truth
    assert "recall" in mine_paraphrases_summary(whole)
    options: dict[str, Any] = {"index": index, "top_k": 6, "nprobe": 1, "recall_rows": 300}
    part = run(tmp_path / "part", **options)
    everything = {tuple(pair) for pair in expected(rows_of(store), top_k=6)}
    found = {tuple(pair) for pair in listed(part)}
    share = part.manifest.about["recall"]["recall"]
    assert share == len(found & everything) / len(everything)
    assert 0.3 < share < 1
    with pytest.raises(OutputError, match=r"(?m)^ +parameter: 1 before, 2 now$"):
        run(tmp_path / "part", **{**options, "nprobe": 2})
    with pytest.raises(ConfigError, match="was built for cosine"):
        run(tmp_path / "new", **options, similarity="dot")
    write_store(tmp_path / "other", ROWS[:200])
    with pytest.raises(InputError, match=r"does not hold the embeddings that .*index was built from"):
        run(tmp_path / "new", **options, embeddings=str(tmp_path / "other"))
    assert not (tmp_path / "new").exists()


def test_texts_are_encoded_and_kept(tmp_path: Path) -> None:
    texts = texts_of(60)
    options: dict[str, Any] = {
        "input": (write_jsonl(tmp_path / "corpus.jsonl", texts),),
        "model": "stub",
        "id_column": "id",
        "prompt": "p: ",
        "keep_text": True,
        "top_k": 3,
        "max_pairs": 50,
    }
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path / "out", StubLoader(), **{**options, "input": ("nowhere.jsonl",)})
    result = run(tmp_path / "out", StubLoader(), **options)
    table = table_of(result)
    truth = expected(stub_embeddings(texts, prompt="p: "), top_k=3, max_pairs=50)
    assert table["score"].to_pylist() == [pair[0] for pair in truth]
    for side in (1, 2):
        assert table[f"id_{side}"].to_pylist() == [f"id-{pair[side]}" for pair in truth]
        assert table[f"text_{side}"].to_pylist() == [texts[int(pair[side])] for pair in truth]
    assert run(tmp_path / "out", StubLoader(), **options).already_complete
    kept = run(
        tmp_path / "again", embeddings=str(tmp_path / "out" / "embeddings"), keep_text=True, top_k=3, max_pairs=50
    )
    assert table_of(kept).equals(table)


@pytest.mark.slow
def test_on_an_object_store(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MOST_ROWS", 200)
    monkeypatch.setattr(blocks, "_LEAST_ROWS", 200)
    place = f"{s3}/{tmp_path.name}"
    store = write_store(f"{place}/store", ROWS)
    result = run(f"{place}/out", embeddings=store, top_k=6, max_pairs=900)
    assert listed(result) == expected(ROWS, top_k=6, max_pairs=900)
