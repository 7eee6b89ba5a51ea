"""What stages do, as metrics of Ray, which its agents offer to Prometheus under these names with `ray_` before them.

The driver alone counts, by what workers tell their `MeterClient` once a second and by commits: so there is one series
for each stage, whatever the number of workers. That matters: Ray's agents never forget a series, also of a worker that
is gone, and tell no more than 2,000 of a metric apart.
"""

from __future__ import annotations

import contextlib
import functools
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from st_ray.runtime.log import current_log
from st_ray.store.output import Commit

_LABELS = ("job_name", "output", "stage")  # Prometheus has a `job` of its own
_BOUNDARIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
_REASONS = 10
OTHER = "other"


@dataclass(frozen=True)
class Metric:
    """A counter, or a histogram where it has boundaries; `labels` are beside those that all have."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()

    def record(self, amount: float, labels: Mapping[str, str]) -> None:
        """Count or observe; never raises, for no run shall end for its metrics."""
        with contextlib.suppress(Exception):
            made = _made(self)
            (made.observe if self.boundaries else made.inc)(amount, dict(labels))


WORK = {
    "rows": Metric("st_ray_rows_total", "Rows that were done; those of a shard that is done again count again"),
    "tokens": Metric("st_ray_tokens_total", "Tokens that models ran"),
    "places": Metric("st_ray_places_total", "Tokens that models ran, with the padding of their batches"),
    "batches": Metric("st_ray_batches_total", "Batches that models ran"),
    "seconds": Metric("st_ray_model_seconds_total", "Seconds that actors with a model worked, all together"),
    "idle": Metric("st_ray_model_idle_seconds_total", "Seconds that they waited for their next shard, all together"),
}
"""Counters of what workers tell the meter, by the name that it has there."""
REUSED = Metric("st_ray_reused_rows_total", "Rows that took their result from an older output")
REJECTED = Metric("st_ray_rejected_rows_total", "Rows that were left out", ("reason",))
SHARDS = Metric("st_ray_shards_total", "Shards that were committed")
FAILED = Metric("st_ray_failed_shards_total", "Shards that a run gave up; the same command tries them again")
SHARD_SECONDS = Metric("st_ray_shard_seconds", "Seconds that a step worked on a shard", ("step",), _BOUNDARIES)
METRICS = (*WORK.values(), REUSED, REJECTED, SHARDS, FAILED, SHARD_SECONDS)


class StageMetrics:
    """Counts what a stage does.

    Args:
        stage: what the stage is called.
        output: the folder that it writes to; where a command runs, the labels have the command's.
    """

    def __init__(self, stage: str, output: str) -> None:
        log = current_log()
        name = log.output or posixpath.basename(output.rstrip("/"))
        self._labels = {"job_name": log.job or "python", "output": name, "stage": stage}
        self._known: dict[str, float] = {}
        self._reasons: set[str] = set()

    def worked(self, totals: Mapping[str, float]) -> None:
        """Count what is new in the meter's sums."""
        for name, metric in WORK.items():
            self._count(metric, totals.get(name, 0.0) - self._known.get(name, 0.0))
        self._known.update(totals)

    def committed(self, commit: Commit) -> None:
        """Count a shard, its rows that were left out or reused, and the seconds of its steps."""
        self._count(SHARDS, 1)
        self._count(REUSED, commit.entry.figures.get("reused", 0))
        for reason, rows in commit.entry.dropped.items():
            self._count(REJECTED, rows, reason=self._bounded(reason))
        for step, seconds in commit.took.items():
            SHARD_SECONDS.record(seconds, {**self._labels, "step": step})

    def failed(self, shards: int = 1) -> None:
        """Count shards that this run gives up."""
        self._count(FAILED, shards)

    def _count(self, metric: Metric, amount: float, **more: str) -> None:
        if amount > 0:
            metric.record(amount, {**self._labels, **more})

    def _bounded(self, reason: str) -> str:
        """The reason; after some of them `other`, because there are those that tell of their very row."""
        if len(self._reasons) < _REASONS:
            self._reasons.add(reason)
        return reason if reason in self._reasons else OTHER


@functools.cache
def _made(metric: Metric) -> Any:
    """Ray's own, once a process."""
    from ray.util import metrics

    labels = _LABELS + metric.labels
    if metric.boundaries:
        return metrics.Histogram(metric.name, metric.help, list(metric.boundaries), labels)
    return metrics.Counter(metric.name, metric.help, labels)
