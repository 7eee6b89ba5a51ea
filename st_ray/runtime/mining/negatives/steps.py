"""Stages of one step, which have all CPUs of the cluster to themselves, and outputs that are one such stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from st_ray.runtime.meter import Meter, MeterClient
from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.resources import cluster_can_grow, cluster_nodes, task_count
from st_ray.runtime.stage import Stage, run_stage
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part


@dataclass(frozen=True)
class _Counted:
    """Makes a part of a task, and counts its rows."""

    make: Callable[[Any], Part]
    meter: MeterClient | None

    @property
    def __name__(self) -> str:
        """What the step is called where times are told."""
        return type(self.make).__name__

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
    actors: str,
) -> Stage:
    """The stage; see `Stage`.

    Args:
        make: from a task to its part.
        actors: the flag.
    """
    return Stage(
        label=label,
        tasks=list(zip(tasks, rows, strict=True)),
        rows=rows,
        finish=_Counted(make, meter.client()),
        writers=task_count(cluster_nodes(), len(tasks), actors, cluster_can_grow()),
        writer_cpus=1.0,
        noun=noun,
        describe=lambda task: describe(task[0]),
    )


def make_once(
    folder: str, kind: str, lineage: Lineage, start_ray: Callable[[], None], stage_of: Callable[[Meter], Stage]
) -> Manifest:
    """An output that is what one stage makes, unless that is done.

    Args:
        start_ray: called before any work.
        stage_of: the stage, whose rows are counted by the meter.

    Raises:
        OutputError: another output lies in `folder`.
        ShardError: some parts could not be made; the others are kept.
    """
    output = OutputFolder(folder, kind)
    output.check_usable()
    finished = output.manifest()
    if finished is not None:
        output.check_lineage(lineage)
        return finished
    with output.lock() as lock:
        writer = output.begin(lineage)
        start_ray()
        meter = Meter()
        result = run_stage(stage_of(meter), output, writer, lock, meter)
        manifest = Manifest(kind, lineage, result.entries)
        output.finish(manifest)
    return manifest
