"""How a job begins whose lineage is known from flags and manifests: there is nothing to do, or it locks its output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from st_ray.runtime.clock import Laps
from st_ray.runtime.config import JobConfig
from st_ray.runtime.joining import job_session
from st_ray.runtime.result import JobResult
from st_ray.runtime.session import data_context
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.output import OutputFolder, Writer


def finished_before(config: JobConfig, output: OutputFolder, lineage: Lineage) -> JobResult | None:
    """What an earlier run has finished. Raises OutputError where that was with another lineage."""
    finished = None if config.overwrite else output.manifest()
    if finished is None:
        return None
    output.check_lineage(lineage)
    return JobResult(finished, output.folder, already_complete=True)


@contextmanager
def begun(
    config: JobConfig, output: OutputFolder, lineage: Lineage, laps: Laps, session: ExitStack | None
) -> Iterator[tuple[OutputLock, Writer]]:
    """Keep other jobs away, begin or go on, and join Ray.

    Args:
        laps: is told how long input and Ray took.
        session: takes over the Ray session; by default it ends with the block.

    Raises:
        OutputError: another job works there, or it was begun with another lineage.
        ResourceError: there is no Ray to join.
    """
    with ExitStack() as stack:
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        writer = output.begin(lineage)
        laps.end("input")
        (session or stack).enter_context(job_session(config))
        data_context(config.debug)
        laps.end("Ray")
        yield lock, writer
