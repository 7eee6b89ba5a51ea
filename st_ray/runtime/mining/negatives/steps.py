"""A stage of one step, which has all CPUs of the cluster to itself, and counts the rows that it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from st_ray.runtime.meter import Meter, MeterClient
from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.resources import cluster_nodes
from st_ray.runtime.stage import Stage
from st_ray.store.output import Part


@dataclass(frozen=True)
class _Counted:
    """Makes a part of a task, and counts its rows."""

    make: Callable[[Any], Part]
    meter: MeterClient | None

    def __call__(self, row: Row) -> Part:
        task, rows = task_of(row)
        part = self.make(task)
        if self.meter is not None:
            self.meter.add(rows=rows)
            self.meter.flush()
        return part


def one_step(
    label: str,
    tasks: Sequence[Any],
    rows: Sequence[int],
    make: Callable[[Any], Part],
    meter: Meter,
    *,
    noun: str,
    describe: Callable[[Any], str],
) -> Stage:
    """The stage; see `Stage`.

    Args:
        make: from a task to its part.
    """
    return Stage(
        label=label,
        tasks=list(zip(tasks, rows, strict=True)),
        rows=rows,
        finish=_Counted(make, meter.client()),
        writers=max(1, sum(int(node.cpus) for node in cluster_nodes())),
        writer_cpus=1.0,
        noun=noun,
        describe=lambda task: describe(task[0]),
    )
