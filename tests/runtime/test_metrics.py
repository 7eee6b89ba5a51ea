"""What a stage counts, with counters that remember."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from st_ray.runtime import metrics
from st_ray.runtime.log import Log, logging_as
from st_ray.runtime.metrics import METRICS, OTHER, Metric, StageMetrics
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Commit
from tests.ray.scrape import Counted, counted


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    found: Counted = Counter()

    def record(metric: Metric, amount: float, labels: Mapping[str, str]) -> None:
        assert amount > 0
        assert set(labels) == {"job_name", "output", "stage", *metric.labels}
        found[metric.name, frozenset(labels.items())] += amount

    monkeypatch.setattr(Metric, "record", record)
    return found


def entry(**dropped: int) -> ShardEntry:
    return ShardEntry("part-00000.parquet", 7, 0, 100, "", dropped, {"reused": 3})


def test_sums_are_counted_once_and_commits_as_they_come(recorded: Counted) -> None:
    with logging_as(Log("encode", "tonight")):
        stage = StageMetrics("encode", "s3://bucket/tonight/staging")
    for totals in ({}, {"rows": 5.0, "loss": 1.0}, {"rows": 5.0}, {"rows": 12.5, "seconds": 2.0, "elapsed": 9.0}):
        stage.worked(totals)
    stage.committed(Commit(entry(empty=2, odd=1), took={"read": 0.5, "write": 1.5}))
    stage.committed(Commit(entry(empty=1)))
    stage.failed()
    stage.failed(0)
    same = {"job_name": "encode", "output": "tonight", "stage": "encode"}
    assert counted(recorded, "st_ray_rows_total", **same) == 12.5
    assert counted(recorded, "st_ray_model_seconds_total", **same) == 2
    assert counted(recorded, "st_ray_shards_total", **same) == 2
    assert counted(recorded, "st_ray_reused_rows_total", **same) == 6
    assert counted(recorded, "st_ray_rejected_rows_total", reason="empty", **same) == 3
    assert counted(recorded, "st_ray_rejected_rows_total", **same) == 4
    assert counted(recorded, "st_ray_shard_seconds", step="write", **same) == 1.5
    assert counted(recorded, "st_ray_failed_shards_total", **same) == 1


def test_without_a_command_the_folder_is_named(recorded: Counted) -> None:
    StageMetrics("encode", "s3://bucket/tonight/").failed()
    assert counted(recorded, "st_ray_failed_shards_total", job_name="python", output="tonight") == 1


def test_reasons_that_tell_of_their_rows_do_not_make_a_series_each(recorded: Counted) -> None:
    stage = StageMetrics("encode", "out")
    for row in range(100):
        stage.committed(Commit(entry(**{f"byte {row} is no text": 1, "empty": 1})))
    assert len([name for name, _ in recorded if name == "st_ray_rejected_rows_total"]) == 11
    assert counted(recorded, "st_ray_rejected_rows_total", reason="empty") == 100
    assert counted(recorded, "st_ray_rejected_rows_total", reason=OTHER) == 91


def test_a_metric_that_fails_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(metric: Metric) -> None:
        raise RuntimeError("no Ray here")

    monkeypatch.setattr(metrics, "_made", fail)
    StageMetrics("encode", "out").committed(Commit(entry(empty=2), took={"read": 1.0}))


def test_names_follow_the_custom_of_prometheus() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("st_ray_")
        assert metric.name.endswith("_seconds" if metric.boundaries else "_total")
        assert list(metric.boundaries) == sorted(set(metric.boundaries))
