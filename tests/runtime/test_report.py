"""What the page of a job says, from commits that are made up."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.histogram import Histogram
from st_ray.core.page import Section, report_page
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.report.page import run_sections
from st_ray.runtime.report.runs import runs_of
from st_ray.runtime.report.scores import counted, score_sections
from st_ray.runtime.report.sections import stage_sections
from st_ray.runtime.stage_result import StageResult
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Commit
from tests.core.test_page import HOSTILE, Page

DAY = 1.79e9
"""Some day."""


def commit(number: int, at: float, took: dict[str, float] | None = None, size: int = 1000, **figures: float) -> Commit:
    entry = ShardEntry(f"part-{number:05d}.parquet", 10, 10 * number, size, "", {}, figures)
    return Commit(entry, at, {"encode": 1.0} if took is None else took)


def stage_of(commits: list[Commit], fresh: int | None = None, rows: int = 10, **changes: Any) -> StageResult:
    """The last `fresh` of the commits are this run's, or all."""
    entries = tuple(one.entry for one in commits)
    ours = entries[len(entries) - (len(entries) if fresh is None else fresh) :]
    usual = {"label": "encode", "noun": "rows", "sizes": (rows,) * len(commits)}
    before = len(entries) - len(ours)
    return StageResult(entries, ours, before, 0, 0.0, 0.0, 0.0, tuple(commits), **{**usual, **changes})


def sections_of(*stages: StageResult) -> dict[str, Section]:
    return {section.title: section for section in stage_sections(stages)}


def test_an_even_run_is_level() -> None:
    (run,) = runs_of(stage_of([commit(number, DAY + number + 1) for number in range(100)]))
    assert (run.began, run.seconds, run.shards, run.rows) == (DAY, 100, 100, 1000)
    np.testing.assert_allclose(run.rates, 10.0, rtol=1e-5)


def test_a_run_that_waited_shows_it() -> None:
    """Of this run's commits none is taken for those of another, however long it waited for a machine."""
    commits = [commit(number, DAY + number + 1 + (900 if number >= 50 else 0)) for number in range(100)]
    (run,) = runs_of(stage_of(commits), bins=100)
    assert run.rates.min() == 0 < run.rates[0]
    assert len(runs_of(stage_of(commits, fresh=0))) == 2


def test_a_resumed_output_has_two_runs() -> None:
    commits = [commit(number, DAY + number) for number in range(1, 31)]
    again = [commit(number, DAY + 33 + number) for number in range(31, 41)]
    first, second = runs_of(stage_of([*commits, *again], fresh=10))
    assert (first.shards, second.shards) == (30, 10)
    assert second.began - DAY == 63
    assert first.seconds == 30
    np.testing.assert_allclose(np.concatenate([first.rates, second.rates]), 10.0, rtol=1e-5)


def test_a_commit_whose_receipt_was_lost_is_this_runs_all_the_same() -> None:
    stage = stage_of([commit(number, DAY + number) for number in range(1, 5)], fresh=4)
    lost = dataclasses.replace(stage, fresh=(stage.fresh[0], *stage.fresh[2:]))
    assert [run.shards for run in runs_of(lost)] == [4]


shards = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e4), st.integers(0, 10_000)), min_size=1, max_size=30)


@given(shards, st.integers(0, 30), st.randoms())
@settings(deadline=None)
def test_every_row_is_in_one_run_and_order_is_nothing(
    found: list[tuple[float, float, int]], fresh: int, shuffler: random.Random
) -> None:
    commits = [commit(number, DAY + at, {"a": work / 2, "b": work / 2}) for number, (at, work, _) in enumerate(found)]
    sizes = tuple(rows for *_, rows in found)
    fresh = min(fresh, len(commits))
    stage = stage_of(commits, fresh, sizes=sizes)
    runs = runs_of(stage)
    assert sum(run.shards for run in runs) == len(found)
    assert sum(run.rows for run in runs) == sum(sizes)
    for run in runs:
        if len(run.rates):
            assert (run.rates > -1e-6).all()
            assert run.rates.mean() * run.seconds == pytest.approx(run.rows, rel=1e-5, abs=1e-3)
    order = list(range(len(commits)))
    shuffler.shuffle(order)
    again = dataclasses.replace(stage, commits=tuple(commits[n] for n in order), sizes=tuple(sizes[n] for n in order))
    assert [(run.began, run.shards, run.rows) for run in runs_of(again)] == [
        (run.began, run.shards, run.rows) for run in runs
    ]


def test_commits_of_an_older_release() -> None:
    """They do not say when they were made; those that do are shown."""
    old = [commit(number, 0.0, {}) for number in range(3)]
    assert runs_of(stage_of(old)) == []
    assert "Throughput" not in sections_of(stage_of(old))
    assert [run.shards for run in runs_of(stage_of([*old, commit(3, DAY)]))] == [1]


def test_nothing_was_committed() -> None:
    assert sections_of() == sections_of(stage_of([])) == {}


def test_the_runs_are_told() -> None:
    commits = [commit(number, DAY + number * (1 if number < 20 else 1000)) for number in range(1, 41)]
    throughput = sections_of(stage_of(commits, fresh=1))["Throughput"]
    assert throughput.rows[0] == ("run", "began (UTC)", "took", "shards", "rows/s")
    assert [row[0] for row in throughput.rows[1:]] == [f"{number}" for number in range(15, 23)]
    assert throughput.rows[-1][3:] == ("1", "10")
    assert "last 8 of 22 runs" in throughput.text
    assert throughput.picture.count(b'class="mark"') == 8


def test_steps_are_added_up_with_their_shares() -> None:
    commits = [commit(number, DAY + number, {"read": 1.0, "encode": 3.0}) for number in range(4)]
    picture = sections_of(stage_of(commits))["Work by step"].picture.decode()
    assert "4.00 s, 25%" in picture
    assert "12s, 75%" in picture


def test_padding_names_the_worst_shard() -> None:
    commits = [commit(number, DAY + number, tokens=90, places=100) for number in range(3)]
    commits += [commit(3, DAY + 3, tokens=50, places=100), commit(4, DAY + 4, tokens=0, places=0)]
    padding = sections_of(stage_of(commits))["Padding"]
    assert padding.text.startswith("20.0% ")
    assert "up to 50.0% (part-00003.parquet)" in padding.text
    assert b"320, 80.0%" in padding.picture
    assert "Padding" not in sections_of(stage_of([commit(0, DAY)]))


def test_shards_are_spread_and_the_slowest_named() -> None:
    commits = [
        commit(number, DAY + number, {"read": 0.5, "encode": float(number)}, size=7 << 20) for number in range(9)
    ]
    found = sections_of(stage_of(commits))
    assert found["Shards"].rows == [
        ("", "rows", "bytes", "work"),
        ("least", "10", "7.0\u00a0MiB", "0.50\u00a0s"),
        ("median", "10", "7.0\u00a0MiB", "4.50\u00a0s"),
        ("mean", "10", "7.0\u00a0MiB", "4.50\u00a0s"),
        ("most", "10", "7.0\u00a0MiB", "8.50\u00a0s"),
    ]
    slowest = found["Work of a shard"].rows
    assert slowest[1] == ("part-00008.parquet", "10", "8.50\u00a0s", "encode")
    assert len(slowest) == 6
    assert "Rows of a shard" not in found  # all are alike
    assert b">0.50 s<" in found["Work of a shard"].picture


def test_of_several_stages_the_largest_is_drawn_and_all_are_told() -> None:
    small = stage_of([commit(0, DAY, {"split": 1.0})], label="split", noun="hits")
    large = stage_of([commit(number, DAY + 9 * number, {"fuse": 9.0}) for number in range(3)], fresh=2, label="fuse")
    found = sections_of(small, large)
    assert found["Stages"].rows[1:] == [
        ("split", "1", "10 hits", "1.00 s"),
        ("fuse", "3, 1 before", "30 rows", "27s"),
    ]
    assert "Throughput: fuse" in found
    assert b"split: split" in found["Work by step"].picture


def scored(number: int, **scores: np.ndarray) -> Commit:
    return dataclasses.replace(commit(number, DAY + number), scores=counted(scores))


def test_scores_of_all_shards_are_one_histogram() -> None:
    chance = np.random.default_rng(0)
    logits = chance.normal(3, 2, (40, 500)).astype(np.float32)
    shards = [scored(number, pairs=row, best=row[:1]) for number, row in enumerate(logits)]
    nothing = [scored(40, pairs=logits[0][:0]), commit(41, DAY)]  # no score, and one of an older release
    pairs, best = score_sections(stage_of([*shards, *nothing], fresh=5))
    assert (pairs.title, best.title) == ("Scores of pairs", "Scores of best")
    assert pairs.text.startswith("How many of 20,000 have which score; half of them lie between 1.6")
    assert "How many of 40 " in best.text
    whole = Histogram.of(logits)
    assert pairs.picture.count(b"V") == len(whole.counts) + 1
    assert b">0</text>" in pairs.picture and b">10</text>" in pairs.picture


def test_without_scores_nothing_is_said_of_them() -> None:
    assert not list(score_sections(stage_of([scored(0, pairs=np.empty(0, np.float32)), commit(1, DAY)])))
    assert not list(score_sections(stage_of([])))


def test_scores_that_are_all_the_same() -> None:
    (section,) = score_sections(stage_of([scored(0, pairs=np.full(9, 0.75, np.float32))]))
    assert section.text == "All 9 lie between 0.7500 and 0.7502."
    assert not section.picture


def test_a_page_of_many_shards_is_small() -> None:
    chance = np.random.default_rng(0)
    at, work = DAY + np.cumsum(chance.random(20_000)), chance.exponential(5, 20_000)
    commits = [
        commit(number, at[number], {"read": work[number] / 3, "encode": work[number]}, int(1e6 * work[number]),
               tokens=100 * number, places=120 * number)
        for number in range(20_000)
    ]  # fmt: skip
    stage = stage_of(commits, fresh=9_000, sizes=tuple(chance.integers(1, 50_000, 20_000).tolist()))
    config = EncodeConfig(input=("a",), model="m", output="o")
    page = report_page("Encode", {}, list(run_sections(config, {"input": "x"}, {"all": 1.0}, [stage])))
    assert len(page) < 40_000
    titles = Page(page).texts("h2")
    assert {"This run", "Throughput", "Padding", "Work of a shard", "Lineage", "Run it again"} <= set(titles)


def test_texts_are_escaped() -> None:
    config = EncodeConfig(input=(HOSTILE,), model=HOSTILE, output="o", prompt=HOSTILE)
    stage = stage_of([commit(0, DAY, {HOSTILE: 1.0})], label=HOSTILE, noun=HOSTILE)
    sections = list(run_sections(config, {HOSTILE: HOSTILE, "list": [HOSTILE]}, {HOSTILE: 1.0}, [stage, stage]))
    parsed = Page(report_page("t", {}, sections))
    assert {tag for tag, _, _ in parsed.elements}.isdisjoint({"script", "b"})
    assert HOSTILE.replace("'", "'\"'\"'") in parsed.texts("pre")[0]
    assert HOSTILE in parsed.texts("td")


def test_long_lineage_is_cut() -> None:
    config = EncodeConfig(input=("a",), model="m", output="o")
    lineage = {section.title: section for section in run_sections(config, {"x": ["y"] * 999}, {"a": 1.0})}["Lineage"]
    assert len(lineage.facts["x"]) == 300
