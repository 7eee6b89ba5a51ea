"""When the shards of a stage were in work: the runs of its job, and how fast each was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from st_ray.runtime.stage_result import StageResult

_IDLE_SECONDS, _IDLE_SHARDS = 60.0, 5.0
"""No shard in work for so long, and for so many times what one takes: earlier commits are those of two runs."""


@dataclass(frozen=True)
class Run:
    """What one run of a job did of a stage.

    Attributes:
        began: when work on its first shard began, in seconds since the epoch.
        seconds: from there to its last commit.
        shards: that it committed, with so many `rows`.
        rates: rows a second in stretches of equal length; empty where no time is known to have passed.
    """

    began: float
    seconds: float
    shards: int
    rows: int
    rates: np.ndarray


@dataclass(frozen=True)
class _Shards:
    """Of n shards, `[n]` each: when they were committed, seconds of work before that, and their rows."""

    at: np.ndarray
    work: np.ndarray
    rows: np.ndarray

    def __getitem__(self, which: np.ndarray) -> _Shards:
        return _Shards(self.at[which], self.work[which], self.rows[which])

    @property
    def began(self) -> float:
        return float((self.at - self.work).min())

    @property
    def seconds(self) -> float:
        return float(self.at.max()) - self.began


def runs_of(result: StageResult, bins: int = 60) -> list[Run]:
    """The runs, in order; none where nobody noted when a shard was committed.

    This run's commits are known; those before it are one run's as long as shards were in work. A shard's rows are
    spread evenly over the seconds of work that ended with its commit.

    Args:
        bins: stretches of all runs together, about.
    """
    fresh = {entry.name for entry in result.fresh}
    noted = [
        (commit.entry.name in fresh, commit.at, sum(commit.took.values()), rows)
        for commit, rows in zip(result.commits, result.sizes, strict=True)
        if commit.at
    ]
    if not noted:
        return []
    ours, at, work, rows = (np.array(column) for column in zip(*noted, strict=True))
    shards = _Shards(at, work, rows)[np.argsort(at, kind="stable")]
    # By time, since the receipt of a commit may have been lost.
    pieces = list(_pieces(shards, shards.at >= at[ours].min(initial=np.inf)))
    whole = sum(piece.seconds for piece in pieces)
    return [_run(piece, max(4, round(bins * piece.seconds / whole)) if whole else 0) for piece in pieces]


def _pieces(shards: _Shards, ours: np.ndarray) -> Iterator[_Shards]:
    """The shards of each run, where `ours` tells those of this one; all are in order."""
    begin = np.minimum.accumulate((shards.at - shards.work)[::-1])[::-1]
    idle = begin[1:] - shards.at[:-1]
    between = idle > max(_IDLE_SECONDS, _IDLE_SHARDS * float(np.median(shards.work)))
    breaks = np.flatnonzero((between & ~ours[1:]) | (ours[1:] != ours[:-1])) + 1
    for which in np.split(np.arange(len(ours)), breaks):
        yield shards[which]


def _run(shards: _Shards, bins: int) -> Run:
    began, seconds = shards.began, shards.seconds
    rates = np.zeros(0)
    if seconds > 0:
        ends = shards.at - began
        edges = np.linspace(0.0, seconds, bins + 1)[1:]
        lasted = np.maximum(shards.work, 1e-9)
        done = [float((shards.rows * np.clip((edge - ends) / lasted + 1, 0, 1)).sum()) for edge in edges]
        rates = np.diff(done, prepend=0.0) / (seconds / bins)
    return Run(began, seconds, len(shards.at), int(shards.rows.sum()), rates)
