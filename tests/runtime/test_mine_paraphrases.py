"""The paraphrase job without Ray: any blocks, parts, ranges and tries give what all scores, sorted, would give."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError, InputError, OutputError
from st_ray.core.pairs import Pairs, concatenated
from st_ray.mining.paraphrases import mine
from st_ray.runtime.mining.paraphrases import blocks, compare, job, pick, staged, stages
from st_ray.runtime.mining.paraphrases import sample as sample_stage
from st_ray.runtime.mining.paraphrases.blocks import Blocks, cut_blocks
from st_ray.runtime.mining.paraphrases.config import MineParaphrasesConfig
from st_ray.runtime.mining.paraphrases.job import mine_paraphrases
from st_ray.runtime.mining.paraphrases.staged import (
    Slices,
    in_order,
    order_keys,
    pairs_bytes,
    read_range,
    read_staged,
)
from st_ray.runtime.pipeline import pack
from st_ray.runtime.resources import Node
from st_ray.runtime.result import JobResult
from st_ray.runtime.stage import Stage
from st_ray.runtime.stage_result import StageResult
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.output import OutputFolder, Writer
from st_ray.store.pairs import read_pairs
from tests.conftest import ROOT
from tests.inline_ray import inline_ray
from tests.mining.brute_force import NAMES, brute_force, scores_of
from tests.stores import vectors, write_store

SMALL = st.sampled_from([1, 2, 3, 7, 20])


class NoMeter:
    """Counts nothing, and stands for its own client."""

    def client(self) -> NoMeter:
        return self

    def add(self, **amounts: float) -> None:
        pass

    def flush(self) -> None:
        pass


@dataclass
class Steps:
    """Stands for a dataset: the steps that rows go through before they are finished."""

    steps: list[Callable[[Any], Any]] = field(default_factory=list)


def run_with_actors(stage: Stage, output: OutputFolder, writer: Writer, *_: Any) -> StageResult:
    """`run_stage` in this process, one shard after another, with one actor a step."""
    committed = output.committed(writer)
    steps = stage.connect(Steps(), False).steps if len(committed) < len(stage.tasks) else []  # type: ignore[arg-type]
    fresh = {}
    for number, (name, task) in enumerate(zip(stage.names(), stage.tasks, strict=True)):
        if name not in committed:
            row: dict[str, Any] = {"shard": number, "name": name, "task": pack(task)}
            for step in steps:
                row |= step(row)
            fresh[name] = writer.commit(name, stage.finish(row))
    entries = tuple((committed | fresh)[name] for name in stage.names())
    return StageResult(entries, tuple(fresh.values()), len(entries) - len(fresh), 0, 0, 0, 0)


@contextmanager
def no_ray(report: Callable[..., bytes] = lambda *_: b"") -> Iterator[None]:
    """The job in this process; drawing its report takes longer than all the rest."""
    with ExitStack() as stack:
        stack.enter_context(inline_ray(stages.__name__))
        replaced = {
            f"{stages.__name__}.run_stage": run_with_actors,
            f"{stages.__name__}.Meter": NoMeter,
            f"{stages.__name__}.cluster_can_grow": lambda: False,
            f"{stages.__name__}.pipeline.map_actors": lambda ds, make, plan, careful: Steps([*ds.steps, make()]),
            f"{job.__name__}.job_session": lambda *_, **__: nullcontext(),
            f"{job.__name__}.data_context": lambda debug: None,
            f"{job.__name__}.report": report,
        }
        for name, value in replaced.items():
            stack.enter_context(mock.patch(name, value))
        yield


@contextmanager
def small_pieces(block: int, piece: int, batch: int, sample: int) -> Iterator[None]:
    """Everything is cut so small that every border is crossed, and samples are samples."""
    with (
        mock.patch.multiple(blocks, _LEAST_ROWS=block, _MOST_ROWS=block),
        mock.patch.multiple(compare, _ROWS=piece, _WAITING=2 * piece),
        mock.patch.multiple(staged, BATCH=batch),
        mock.patch.multiple(pick, BATCH=batch, RANGE_PAIRS=3 * batch),
        mock.patch.multiple(sample_stage, _LEAST_SAMPLE=sample, _ASKED=sample),
        mock.patch.multiple(stages, PART_PAIRS=2 * batch),
    ):
        yield


def mined(folder: Path | str, store: str, **changes: Any) -> JobResult:
    config = MineParaphrasesConfig(embeddings=store, output=str(folder), **changes)
    with no_ray():
        return mine_paraphrases(config)


def table_of(result: JobResult) -> pa.Table:
    return pa.concat_tables(read_pairs(result.folder, entry) for entry in result.manifest.entries)


def listed(result: JobResult) -> list[list[float | int]]:
    """`[score, i, j]`, rows by the numbers in their ids."""
    table = table_of(result)
    ids = ([int(identity[1:]) for identity in table[name].to_pylist()] for name in ("id_1", "id_2"))
    return [list(pair) for pair in zip(table["score"].to_pylist(), *ids, strict=True)]


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(NAMES),
    rows=st.integers(0, 45) | st.integers(25, 45),
    kinds=st.sampled_from([1, 2, 5, 1000]),
    parts=st.integers(1, 4),
    spread=st.sampled_from([1, 3, 100]),
    top_k=st.sampled_from([1, 2, 3, 7, 100]),
    max_pairs=st.sampled_from([1, 7, 20, 45, 100, 300, 5000]),
    cut=st.floats(0, 1) | st.none(),
    pieces=st.tuples(st.sampled_from([5, 8, 20, 60]), SMALL, st.integers(1, 9), st.integers(3, 30)),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_brute_force(
    name: str,
    rows: int,
    kinds: int,
    parts: int,
    spread: int,
    top_k: int,
    max_pairs: int,
    cut: float | None,
    pieces: tuple[int, int, int, int],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    embeddings = rng.integers(-spread, spread + 1, (rows, 5)).astype(np.float32)
    embeddings[~embeddings.any(axis=1), 0] = 1
    embeddings = embeddings[rng.integers(0, min(kinds, rows), rows)] if kinds < 1000 and rows else embeddings
    expected = brute_force(scores_of(name, torch.from_numpy(embeddings)), top_k, max_pairs)
    min_score = None
    if cut is not None and expected:
        # One of the scores themselves, so that equal ones are at the border.
        min_score = expected[int(cut * (len(expected) - 1))][0]
        expected = [pair for pair in expected if pair[0] >= min_score]
    with tempfile.TemporaryDirectory() as folder, small_pieces(*pieces):
        store = write_store(f"{folder}/store", embeddings, parts=parts)
        result = mined(f"{folder}/out", store, top_k=top_k, max_pairs=max_pairs, min_score=min_score, similarity=name)
        assert listed(result) == expected
        about = result.manifest.about
        assert about["pairs"] == len(expected) == result.manifest.rows
        assert about["rows_in_no_pair"] == rows - len({row for pair in expected for row in pair[1:]})
        assert about["last_score"] == (expected[-1][0] if expected else None)


@settings(deadline=None, max_examples=12)
@given(
    name=st.sampled_from(NAMES),
    precision=st.sampled_from(["float32", "float16", "int8", "uint8"]),
    top_k=st.integers(1, 30),
    max_pairs=st.integers(1, 3000),
    block=st.sampled_from([13, 40, 200]),
    seed=st.integers(0, 2**32 - 1),
)
def test_real_numbers_give_the_bits_of_the_function_in_memory(
    name: str, precision: str, top_k: int, max_pairs: int, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((120, 33)).astype(np.float32)
    embeddings[rng.integers(0, 120, 60)] = embeddings[rng.integers(0, 120, 60)]  # equal rows, far apart
    with tempfile.TemporaryDirectory() as folder, small_pieces(block, 11, 50, 40):
        store = write_store(f"{folder}/store", embeddings, precision=precision)
        opened = StoredVectors.open(store)
        rows = torch.from_numpy(opened.floats(opened.take(np.arange(120))))
        whole = mine(rows, similarity_of(name), min(top_k, 119), max_pairs)
        found = listed(mined(f"{folder}/out", store, top_k=top_k, max_pairs=max_pairs, similarity=name))
    columns = (column.tolist() for column in (whole.scores, whole.first, whole.second))
    assert found == [list(pair) for pair in zip(*columns, strict=True)]


def made_pairs(seed: int, count: int = 200) -> Pairs:
    """Few different scores, both zeros among them, so that ties abound; some pairs twice."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 30, count)
    second = first + rng.integers(1, 9, count)
    scores = np.array([-np.inf, -2.5, -0.0, 0.0, 1e-30, 3.0, np.inf], np.float32)[(first * 31 + second * 17) % 7]
    return Pairs(first, second, scores)


@given(seed=st.integers(0, 1000), batch=st.integers(1, 60), files=st.integers(1, 4), cuts=st.integers(0, 6))
@settings(deadline=None, max_examples=60)
def test_any_ranges_of_any_files_join_to_all_pairs_in_order(seed: int, batch: int, files: int, cuts: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = in_order(made_pairs(seed))
    assert sorted(zip((-pairs.scores).tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True)) == list(
        zip((-pairs.scores).tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True)
    )
    keys = order_keys(pairs)
    bounds = np.sort(rng.choice(keys, cuts)).tolist()
    owner = rng.integers(0, files, len(pairs))
    with tempfile.TemporaryDirectory() as folder, small_pieces(5, 5, batch, 5):
        urls = [f"{folder}/{number}.arrow" for number in range(files)]
        for number, url in enumerate(urls):
            fs.write_atomic(url, pairs_bytes(pairs[owner == number]))
        parts = [
            in_order(concatenated([read_range(url, low, high) for url in urls]))
            for low, high in zip([0, *bounds], [*bounds, None], strict=True)
        ]
        joined = concatenated(parts)
        for column in ("first", "second", "scores"):
            np.testing.assert_array_equal(getattr(joined, column), getattr(pairs, column))
        begin, end = sorted(rng.integers(0, len(pairs) + 1, 2).tolist())
        np.testing.assert_array_equal(
            concatenated([read_staged(url) for url in urls]).scores, pairs[np.argsort(owner, kind="stable")].scores
        )
        slices = Slices([(url, int((owner == number).sum())) for number, url in enumerate(urls)], end)
        several = concatenated(list(slices.parts(begin, end)))
        np.testing.assert_array_equal(several.second, pairs[np.argsort(owner, kind="stable")][begin:end].second)


def test_blocks() -> None:
    for rows, size in ((1, 5), (5, 5), (23, 5), (40, 7)):
        cut = Blocks(rows, size)
        couples = cut.couples()
        assert [couples[place] for number in range(len(cut)) for place in cut.couples_with(number)] == [
            tuple(sorted((number, other))) for number in range(len(cut)) for other in range(len(cut))
        ]
        assert sum(cut.rows_of(number) for number in range(len(cut))) == rows
    assert cut_blocks(100_000, 384, 100, 500_000).size == 16_384
    assert cut_blocks(3_000_000, 384, 100, 500_000).size == 46_875
    assert cut_blocks(10**8, 384, 100, 500_000).size == 65_536
    assert cut_blocks(10**8, 4096, 100, 500_000).size == 16_384
    assert cut_blocks(10**6, 384, 1000, 10**9).size == 2000


def test_a_guess_that_is_too_high_is_noticed(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors(150, 8))
    whole = listed(mined(tmp_path / "whole", store, top_k=5, max_pairs=300))
    with small_pieces(40, 11, 50, 40), mock.patch.object(stages, "guess", lambda *_: [[0.999, 0.99]]):
        result = mined(tmp_path / "out", store, top_k=5, max_pairs=300)
    assert listed(result) == whole
    assert [name for name in result.manifest.run["shards_done_before"] if name.endswith("pick")] == [
        "try-0/pick",
        "try-1/pick",
        "try-last/pick",
    ]
    assert not (tmp_path / "out" / "staging").exists()


def test_picks_that_cannot_count_are_not_put_in_order(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors(150, 8))
    seen = []

    def ranges(*arguments: Any) -> list[tuple[int, int | None]]:
        seen.append(pick.ranges(*arguments))
        return seen[-1]

    with small_pieces(40, 11, 4, 40), mock.patch.object(stages, "ranges", ranges):
        found = listed(mined(tmp_path / "few", store, top_k=20, max_pairs=10, min_score=-1.0))
        mined(tmp_path / "many", store, top_k=20, max_pairs=3000)
    assert found == listed(mined(tmp_path / "whole", store, top_k=20, max_pairs=10))
    assert seen[0][-1][1] is not None
    assert seen[-1][-1][1] is None


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows(tmp_path: Path, rows: int) -> None:
    store = write_store(tmp_path / "store", vectors(rows), parts=1)
    result = mined(tmp_path / "out", store, max_pairs=10**9)
    assert [entry.rows for entry in result.manifest.entries] == [max(0, rows - 1)]
    table = table_of(result)
    assert table.schema.names == ["id_1", "id_2", "score"]
    assert table["id_1"].type == pa.string()
    assert result.manifest.about["rows_in_no_pair"] == (rows if rows < 2 else 0)


def test_it_goes_on_where_it_was_cut_short(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors(120))
    out = tmp_path / "out"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def parts() -> dict[str, tuple[bytes, int]]:
        files = (path for path in out.rglob("data/*"))
        return {str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    with small_pieces(40, 11, 50, 40):
        with mock.patch.object(OutputFolder, "finish", stop), pytest.raises(KeyboardInterrupt):
            mined(out, store, top_k=5)
        before = parts()
        gone = [f"staging/try-last/{name}/data/part-00001.arrow" for name in ("compare", "pick")]
        gone += ["staging/sample/data/part-00000.npy", "data/part-00001.parquet"]
        for name in gone:
            (out / name).unlink()
        with mock.patch.object(OutputFolder, "finish", stop), pytest.raises(KeyboardInterrupt):
            mined(out, store, top_k=5)
        now = parts()
        assert {name: data for name, (data, _) in now.items()} == {name: data for name, (data, _) in before.items()}
        assert {name for name in before if now[name][1] != before[name][1]} == set(gone)
        result = mined(out, store, top_k=5)
    assert result.manifest.run["shards_done_before"]["try-last/compare"] == 6
    assert listed(result) == listed(mined(tmp_path / "whole", store, top_k=5))
    assert mined(out, store, top_k=5).already_complete
    with pytest.raises(OutputError, match=r"(?m)^ +top_k: 5 before, 6 now$"):
        mined(out, store, top_k=6)
    assert mined(out, store, top_k=6, overwrite=True).manifest.about["top_k"] == 6


def test_rows_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    embeddings = vectors(90)
    embeddings[[50, 52, 80], 3] = np.nan, np.inf, np.nan
    store = write_store(tmp_path / "broken", embeddings)
    with small_pieces(40, 11, 50, 40):
        with pytest.raises(InputError, match=r"broken: the embedding of 'd50' is not finite \(such rows: 3\)"):
            mined(tmp_path / "out", store)
        zeros = vectors(90)
        zeros[[41, 7]] = 0
        store = write_store(tmp_path / "zeros", zeros)
        with pytest.raises(InputError, match=r"embedding of 'd7' is all zeros, which has no cosine \(such rows: 2\)"):
            mined(tmp_path / "zero", store)
        assert mined(tmp_path / "dot", store, similarity="dot").manifest.rows > 0


def test_what_does_not_fit_is_refused_before_any_work(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors(20))
    bits = write_store(tmp_path / "bits", vectors(20), precision="ubinary")
    (tmp_path / "empty").mkdir()
    cases: list[tuple[str, dict[str, Any], type[Exception], str]] = [
        (bits, {}, InputError, "bits holds bits"),
        (bits, {"similarity": "dot"}, InputError, "bits holds bits"),
        (str(tmp_path / "empty"), {}, InputError, r"empty has no manifest\.json"),
        (store, {"min_score": 1.5}, ConfigError, r"--min-score 1\.5: no cosine is above 1"),
        (store, {"min_score": 0.1, "similarity": "manhattan"}, ConfigError, r"no manhattan is above 0 \(distances"),
        (store, {"keep_text": True}, InputError, "has no column text"),
        (store, {"index": store}, InputError, "store holds embeddings, not an index"),
    ]
    for embeddings, changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            mined(tmp_path / "out", embeddings, **changes)
    assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError, match="holds embeddings, this job makes pairs"):
        mined(store, store)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "none of --embeddings, --index and --input"),
        ({"input": ("t",)}, "--model no model"),
        ({"input": ("t",), "model": "m", "embeddings": "e"}, "--embeddings: --input names texts"),
        ({"input": ("t",), "model": "m", "index": "i"}, "--index: --input names texts"),
        ({"embeddings": "e", "model": "m"}, "--model: it is for --input"),
        ({"embeddings": "e", "id_column": "a"}, "--id-column: it is for --input"),
        ({"embeddings": "e", "prompt": "a"}, "--prompt: it is for --input"),
        ({"embeddings": "e", "nprobe": 3}, "--nprobe: it is for --index"),
        ({"embeddings": "e", "recall_rows": 3}, "--recall-rows: it is for --index"),
        ({"embeddings": "e", "top_k": 0}, "--top-k 0 must be 1 or more"),
        ({"embeddings": "e", "max_pairs": 0}, "--max-pairs 0 must be 1 or more"),
        ({"index": "i", "ef_search": 0}, "--ef-search 0 must be 1 or more"),
        ({"embeddings": "e", "similarity": "euclidean", "min_score": 1e-9}, "no euclidean is above 0"),
        ({"embeddings": "e", "min_score": float("nan")}, "--min-score nan is not a finite number"),
        ({"input": ("t",), "model": "m", "prompt": "a", "prompt_name": "b"}, "--prompt and --prompt-name"),
    ],
)
def test_flags_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MineParaphrasesConfig(output="o", **changes)


def test_bad_flags_do_not_even_load_ray() -> None:
    script = (
        "import sys; from jobs.mine_paraphrases import main\n"
        "try: main()\nfinally: assert not {'ray', 'torch'} & set(sys.modules)"
    )
    flags = ["--embeddings", "e", "--output", "o", "--top-k", "0"]
    done = subprocess.run([sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "AssertionError" in done.stderr) == (2, False)
    assert done.stderr.startswith("error: --top-k 0 must be 1 or more")


def test_the_report(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", vectors(60))
    config = MineParaphrasesConfig(embeddings=store, output=str(tmp_path / "out"), top_k=3)
    with no_ray(job.report):
        result = mine_paraphrases(config)
    page = (tmp_path / "out" / "report.html").read_text()
    pairs = listed(result)
    for pair in (pairs[0], pairs[11], pairs[-12], pairs[-1]):
        assert f">{pair[0]:.4f}</th><td>d{pair[1]}</td><td>d{pair[2]}</td>" in page
    assert page.count("<figure>") == 1 and "<h2>Run it again</h2>" in page
    assert "60 rows" in page


@pytest.mark.parametrize("grows", [False, True])
def test_machines_may_still_come(grows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "cluster_nodes", lambda: [Node(2, 0)])
    monkeypatch.setattr(stages, "cluster_can_grow", lambda: grows)
    config = MineParaphrasesConfig(embeddings="e", output="o", actors="1:16", cpus_per_actor=1.0)
    mining: Any = stages.Mining(config, *[None] * 5, {})  # type: ignore[arg-type]
    assert mining._stage("pick", range(40), [1] * 40, lambda threads: print).writers == (16 if grows else 1)
