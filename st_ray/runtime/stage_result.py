"""What a stage has done, and how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Commit


@dataclass(frozen=True)
class StageResult:
    """All parts in plan order, and what this run did of them.

    Attributes:
        fresh: those that this run committed.
        done_before: shards that an earlier run had committed.
        rows: input rows that this run did.
        seconds: from the start of the stage to its end.
        first_commit_seconds: from the start of the stage to its first commit.
        steady_rate: rows a second between the first and the last commit of this run; see `steady_rate`.
        commits: all entries again, with when they were committed and what took how long.
        label: of the stage.
        noun: what its rows are called.
        sizes: input rows of each shard.
    """

    entries: tuple[ShardEntry, ...]
    fresh: tuple[ShardEntry, ...]
    done_before: int
    rows: int
    seconds: float
    first_commit_seconds: float
    steady_rate: float
    commits: tuple[Commit, ...] = ()
    label: str = ""
    noun: str = "rows"
    sizes: tuple[int, ...] = ()

    def start_up(self, before: Mapping[str, float], step: str, conversion: float = 0.0) -> dict[str, float]:
        """Seconds up to the first commit: those before the stage, until the shard met a loaded model, and from there.

        Args:
            before: the laps before the stage.
            step: the model's.
            conversion: what the model's loading spent on converting it, or waiting for that.
        """
        names = {entry.name for entry in self.fresh}
        fresh = [commit for commit in self.commits if commit.entry.name in names and step in commit.took]
        if not fresh:
            return dict(before)
        took = min(fresh, key=lambda commit: commit.at).took
        steps = list(took)
        work = sum(took[name] for name in steps[steps.index(step) :])
        loading = max(0.0, self.first_commit_seconds - work - conversion)
        laps = {"conversion": conversion} if conversion else {}
        laps |= {"model": loading, "first shard": self.first_commit_seconds - loading - conversion}
        return {**before, **{name: round(seconds, 2) for name, seconds in laps.items()}}


def steady_rate(commits: Sequence[tuple[float, int]]) -> float:
    """Rows a second, by `(second, rows)` of each commit: the slope of the line that is closest to all of them.

    Workers that begin together commit together: what lies between the first and the last commit would be too much by a
    shard for each of the others. 0 where all is committed at one moment.
    """
    if not commits:
        return 0.0
    moments, rows = np.array(sorted(commits), np.float64).T
    moments -= moments.mean()
    spread = moments @ moments
    return float(moments @ np.cumsum(rows) / spread) if spread else 0.0
