"""The resumable stage: plan - committed = missing; map the missing shards; commit each. The only resume logic.

Every job is stages of this kind. A stage is told its shards and the steps that turn a shard into a part; it knows
nothing of texts, models or indexes.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from st_ray.core.errors import LostError, OutputError, ShardError, StoreError, StRayError
from st_ray.core.summary import human_seconds
from st_ray.runtime import pipeline
from st_ray.runtime.at_work import at_work
from st_ray.runtime.log import Line, current_log
from st_ray.runtime.meter import ELAPSED, Meter
from st_ray.runtime.metrics import StageMetrics
from st_ray.runtime.pipeline import Row
from st_ray.runtime.progress import Progress, Snapshot, progress_line
from st_ray.runtime.resources import TASK_CPUS
from st_ray.runtime.session import STANDSTILL_SECONDS, raise_if_stopped
from st_ray.runtime.stage_result import StageResult, steady_rate
from st_ray.runtime.stragglers import Watch, overdue_lines
from st_ray.store.fs import AGAIN
from st_ray.store.journal import StagePlan, note_error, note_stage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Commit, OutputFolder, Part, Writer, part_name

if TYPE_CHECKING:
    import ray.data

ATTEMPTS = 4
"""Passes over what is missing: so often may a shard lose its actor, node or memory before the run ends without it."""

GIVE_UP_AFTER = 10
"""Failed shards after which a run ends early: the fault is then hardly the shard's own."""
_STORE_FAILURES = 2
"""The same, of shards that a store has failed for, which was asked for a minute or two each time."""
_SHOWN_REASONS = 5
_ROWS_OF_BLOCK = 256
_LEAST_BLOCKS = 512


@dataclass(frozen=True)
class Stage:
    """One kind of work on shards.

    Attributes:
        label: what is done, for the progress line.
        tasks: picklable descriptors; the position is the shard's number.
        rows: input rows of each task.
        finish: turns the last step's row into the part; runs in a CPU task, or where `connect` runs on CPUs.
        connect: adds the steps between the shard's row (`pipeline.task_of(row)`) and `finish`, if there are any; its
            second argument asks for one shard at a time (see `pipeline.map_actors`).
        writers: parts finished and published at once.
        writer_cpus: logical CPUs of each.
        writer_gpus: GPUs of each.
        suffix: file name ending of the parts.
        describe: what to call a shard's input in an error.
        noun: what the rows are called.
    """

    label: str
    tasks: Sequence[Any]
    rows: Sequence[int]
    finish: Callable[[Row], Part]
    connect: Callable[[ray.data.Dataset, bool], ray.data.Dataset] = lambda ds, careful: ds
    writers: int = 1
    writer_cpus: float = TASK_CPUS
    writer_gpus: float = 0.0
    suffix: str = ".parquet"
    describe: Callable[[Any], str] = str
    noun: str = "rows"

    def names(self) -> list[str]:
        """The parts' names, by shard number."""
        return [part_name(number, len(self.tasks), self.suffix) for number in range(len(self.tasks))]

    def plan(self) -> StagePlan:
        """What a run that comes to it now says of it."""
        return StagePlan(self.label, self.noun, tuple(map(int, self.rows)), self.suffix, round(time.time(), 3))

    def input_of(self, name: str) -> str:
        """What to call the input of the part `name`."""
        return self.describe(self.tasks[self.names().index(name)])


class _Tally:
    """What has been committed, by part name, and when."""

    def __init__(self, stage: Stage, committed: Mapping[str, Commit], metrics: StageMetrics) -> None:
        self.metrics = metrics
        self._stage = stage
        self.names = stage.names()
        self._rows = dict(zip(self.names, stage.rows, strict=True))
        self.done = {name: committed[name] for name in self.names if name in committed}
        self.before = len(self.done)
        self.rows_to_do = sum(self._rows[name] for name in self.names if name not in self.done)
        self.failures: dict[str, StRayError] = {}
        self.lost: dict[str, LostError] = {}
        self._started = time.monotonic()
        self._began_at = time.time()
        self._fresh: list[ShardEntry] = []
        self._moments: list[tuple[float, int]] = []

    @property
    def committed(self) -> int:
        """Shards that this run has committed."""
        return len(self._fresh)

    @property
    def hopeless(self) -> bool:
        # Where one part cannot be written, for want of room say, none can.
        cannot_write = any(isinstance(failure, OutputError) for failure in self.failures.values())
        of_store = sum(isinstance(failure, StoreError) for failure in self.failures.values())
        return cannot_write or of_store >= _STORE_FAILURES or len(self.failures) >= GIVE_UP_AFTER

    def todo(self) -> list[int]:
        return [n for n, name in enumerate(self.names) if name not in self.done and name not in self.failures]

    def seconds(self) -> list[float]:
        """Of work on each shard that is done, where that is known."""
        return [sum(commit.took.values()) for commit in tuple(self.done.values()) if commit.took]

    def add(self, commit: Commit) -> None:
        """Note a part that was committed; its receipt may take a while to come here."""
        self.done[commit.entry.name] = commit
        self._fresh.append(commit.entry)
        # Machines' clocks differ: never before the start, never in the future.
        moment = min(max(commit.at - self._began_at, 0.0), time.monotonic() - self._started)
        self._moments.append((moment, self._rows[commit.entry.name]))
        self.metrics.committed(commit)

    def fail(self, name: str, failure: StRayError) -> None:
        """Note a shard that is given up."""
        self.failures[name] = failure
        self.metrics.failed()
        about: dict[str, Any] = {"error": type(failure).__name__, "message": failure.message, "remedy": failure.remedy}
        current_log().tell("shard_failed", None, level="warning", shard=name, **about)

    def result(self) -> StageResult:
        return StageResult(
            entries=tuple(self.done[name].entry for name in self.names),
            commits=tuple(self.done[name] for name in self.names),
            fresh=tuple(self._fresh),
            done_before=self.before,
            rows=sum(rows for _, rows in self._moments),
            seconds=time.monotonic() - self._started,
            first_commit_seconds=min((moment for moment, _ in self._moments), default=0.0),
            steady_rate=steady_rate(self._moments),
            label=self._stage.label,
            noun=self._stage.noun,
            sizes=tuple(self._stage.rows),
        )


def run_stage(stage: Stage, output: OutputFolder, writer: Writer, lock: OutputLock, meter: Meter) -> StageResult:
    """Do what is missing and return all entries.

    Raises:
        ShardError: some shards failed; the others are committed and a second run does the rest.
        OutputError: another job took the output's lock meanwhile.
    """
    metrics = StageMetrics(stage.label, output.folder)
    tally = _Tally(stage, output.commits(writer), metrics)

    def line() -> Line:
        totals = meter.read()
        metrics.worked(totals)
        now = Snapshot(totals.get("rows", 0), totals.get("tokens", 0), len(tally.done), totals.get(ELAPSED, 0))
        return progress_line(stage.label, now, tally.rows_to_do, len(tally.names), stage.noun)

    needed = bool(tally.todo())
    with ExitStack() as stack:
        if needed:
            note_stage(output.folder, stage.plan())
            stack.enter_context(Progress(line))
            stack.enter_context(Watch(stage.label, writer.folder, tally, stage.input_of))
        # What dies with an actor or a node is simply missing after a pass, and done in the next one; there, shard by
        # shard, so that one that kills its process takes no other with it.
        for attempt in range(ATTEMPTS):
            if attempt and tally.todo() and not tally.hopeless:
                tally.done.update(output.commits(writer))  # a receipt can be lost after its commit
            raise_if_stopped()
            todo = [(number, tally.names[number], stage.tasks[number]) for number in tally.todo()]
            if todo and not tally.hopeless:
                _run_pass(stage, writer, lock, todo, attempt > 0, tally)
    if needed:
        metrics.worked(meter.read())
    _raise_if_incomplete(stage, tally)
    lock.require_held(writer.folder)
    return tally.result()


def _run_pass(
    stage: Stage, writer: Writer, lock: OutputLock, todo: list[tuple[int, str, Any]], careful: bool, tally: _Tally
) -> None:
    """Run the pipeline over `todo`; shards whose process died simply do not come back."""
    blocks = len(todo) if careful else block_count([stage.rows[number] for number, *_ in todo])
    ds, connect = pipeline.start_rows(todo, blocks, writer.folder), stage.connect
    publish = _Publish(stage.finish, writer)
    if isinstance(connect, pipeline.TasksThenActors) and connect.on_cpus:
        ds = connect.in_one_process(ds, publish, careful)
    else:
        ds = connect(ds, careful)
        ds = pipeline.map_tasks(ds, publish, size=stage.writers, cpus=stage.writer_cpus, gpus=stage.writer_gpus)
    try:
        for row in ds.iter_rows():
            raise_if_stopped()
            lock.require_held(writer.folder)
            failure = pipeline.failure_of(row)
            if failure is None:
                tally.add(pipeline.unpack(row["commit"]))
            elif isinstance(failure, LostError):
                tally.lost[row["name"]] = failure  # and done again in the next pass
            else:
                tally.fail(row["name"], failure)
                note_error(writer.folder, failure, row["name"])
            if tally.hopeless:
                return
    except StRayError:
        raise
    except Exception as error:  # Ray Data's own: no actor starts, the cluster is gone, nothing moves any more
        broken = ShardError(
            f"the pipeline broke off: {_why_broken(stage, writer.folder, error)}",
            f"--debug shows more; run the same command again: the {len(tally.done)} committed shards are kept",
        )
        broken.details = traceback.format_exc()
        raise broken from error


def _why_broken(stage: Stage, output: str, error: Exception) -> str:
    from ray.data.exceptions import ExecutionTimeoutError

    if not isinstance(error, ExecutionTimeoutError):
        last_line = (str(error).strip() or repr(error)).splitlines()[-1]
        return f"{type(error).__name__}: {last_line}"
    lines = overdue_lines(at_work(output), stage.input_of)
    return "\n     ".join([f"nothing has moved for {human_seconds(STANDSTILL_SECONDS)}", *lines])


def block_count(rows: Sequence[int]) -> int:
    """How many blocks the shards with so many `rows` each are run in.

    A block costs Ray some 25 ms, whatever is in it. Where there are more shards than workers could be, those of a few
    rows share one; what is lost with a worker stays a small part of the whole.
    """
    together = max(1, _ROWS_OF_BLOCK * len(rows) // max(1, sum(rows)))
    return min(len(rows), max(-(-len(rows) // together), _LEAST_BLOCKS))


class _Publish:
    """The last step: finish the part and publish it with its record."""

    def __init__(self, finish: Callable[[Row], Part], writer: Writer) -> None:
        self._finish = finish
        self._writer = writer
        self.__name__ = pipeline.step_name(finish)

    def __call__(self, row: Row) -> Row:
        begun = time.perf_counter()
        part = self._finish(row)
        took = pipeline.seconds_of(row) | {self.__name__: time.perf_counter() - begun}
        return {"commit": pipeline.pack(self._writer.publish(row["name"], part, took))}


def _raise_if_incomplete(stage: Stage, tally: _Tally) -> None:
    missing = [number for number, name in enumerate(tally.names) if name not in tally.done]
    if not missing:
        return
    shown = [number for number in missing if not tally.hopeless or tally.names[number] in tally.failures]
    tally.metrics.failed(sum(tally.names[number] not in tally.failures for number in shown))
    by_reason: dict[str, list[int]] = {}
    for number in shown:
        failure = tally.failures.get(tally.names[number]) or tally.lost.get(tally.names[number])
        reason = failure.message if failure else "the process that ran it died each time (out of memory, or a crash)"
        by_reason.setdefault(reason, []).append(number)
    lines = []
    for reason, numbers in list(by_reason.items())[:_SHOWN_REASONS]:
        more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
        lines.append(f"{tally.names[numbers[0]]} ({stage.describe(stage.tasks[numbers[0]])}){more}: {reason}")
    first = next(iter(tally.failures.values()), None)
    remedy = first.remedy.removesuffix(AGAIN) if first is not None and first.remedy else "mend the cause"
    error = ShardError(
        f"{len(missing)} of {len(tally.names)} shards are not done:\n     " + "\n     ".join(lines),
        f"{remedy}; then run the same command again: the {len(tally.done)} committed shards are kept",
    )
    error.details = first.details if first is not None else ""
    raise error
