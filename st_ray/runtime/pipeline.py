"""The Ray Data idiom in one place: one row a shard, `.map` everywhere, failures travel as data.

A single row is never split or merged with another, so a shard keeps its identity from plan to commit, whichever block
it lies in. Rows carry `shard` (its number), `name` (its part) and `output` (the folder of the part); a step that raises
turns its row into one with `failure` set, which the following steps pass on, so that the driver learns which shard
failed and why, and the other shards go on. `took` has the seconds that each step worked on the shard.
"""

from __future__ import annotations

import atexit
import functools
import pickle
import re
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from st_ray.core.errors import LostError, ShardError, StRayError, reason_of
from st_ray.core.heap import keep_freed_memory, trim_heap
from st_ray.runtime.at_work import titled
from st_ray.runtime.resources import TASK_CPUS, ActorPlan, cluster_nodes

if TYPE_CHECKING:
    # It takes most of a second to import, which workers that run none of its tasks can do without.
    import ray.data

Row = dict[str, Any]
_END_SECONDS = 10
_LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.RayActorError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
)


def start_rows(tasks: list[tuple[int, str, Any]], blocks: int, output: str) -> ray.data.Dataset:
    """A dataset with a row for each `(number, part name, picklable descriptor)`, in so many blocks.

    What lies in one block goes through each step in one call, row by row: Ray's own work is by the block.
    """
    import ray.data

    rows = [{"shard": number, "name": name, "output": output, "task": pack(task)} for number, name, task in tasks]
    return ray.data.from_items(rows, override_num_blocks=blocks)


def task_of(row: Row) -> Any:
    """The descriptor given to `start_rows`."""
    return unpack(row["task"])


def pack(value: Any) -> bytes:
    """Any picklable value as a cell of a row."""
    return pickle.dumps(value, protocol=5)


def unpack(cell: bytes) -> Any:
    """The inverse of `pack`."""
    return pickle.loads(cell)


def map_tasks(
    ds: ray.data.Dataset, step: Callable[[Row], Row], *, size: int, cpus: float = TASK_CPUS, gpus: float = 0.0
) -> ray.data.Dataset:
    """Run the plain function `step` on each shard in at most `size` tasks at once."""
    import ray.data

    return ds.map(_Guarded(step), num_cpus=cpus, num_gpus=gpus or None, compute=ray.data.TaskPoolStrategy(size=size))


def map_actors(
    ds: ray.data.Dataset, make: Callable[[], Callable[[Row], Row]], plan: ActorPlan, *, careful: bool = False
) -> ray.data.Dataset:
    """Run each shard through a pool of actors; `make` builds the step once an actor (loads the model, say).

    A task whose actor dies is not retried here: it would wait for that actor to come back, for ever where the machine
    is gone. Its shard stays missing and the stage's next pass does it.

    Args:
        careful: one shard at a time an actor, so that a shard that kills its process takes no other with it.
    """
    return _in_pool(ds, _GuardedActor, (make,), plan, careful, threads=1)


@dataclass(frozen=True)
class TasksThenActors:
    """Steps of a stage: each shard is read in a task and worked on by an actor.

    Attributes:
        read: from the shard's row to what the actors' step takes.
        make: see `map_actors`.
        actors: the pool.
    """

    read: Callable[[Row], Row]
    make: Callable[[], Callable[[Row], Row]]
    actors: ActorPlan

    def __call__(self, ds: ray.data.Dataset, careful: bool) -> ray.data.Dataset:
        """The steps, to go before `finish`."""
        ds = map_tasks(ds, self.read, size=self.actors.readers, cpus=self.actors.reader_cpus)
        return map_actors(ds, self.make, self._pool(careful), careful=careful)

    @property
    def on_cpus(self) -> bool:
        """Whether an actor has no GPU, which must not wait for reading and writing."""
        return not self.actors.gpus

    def in_one_process(self, ds: ray.data.Dataset, last: Callable[[Row], Row], careful: bool) -> ray.data.Dataset:
        """The steps and the `last` one in the actors: nothing is handed on, and no process beside theirs is needed.

        On a small machine those take as much time from the model as they save; each has hundreds of timers.
        """
        plan = self._pool(careful)
        return _in_pool(ds, _OneProcess, (self.read, self.make, last), plan, careful, threads=plan.in_flight)

    def _pool(self, careful: bool) -> ActorPlan:
        return self.actors.fitted(cluster_nodes()) if careful else self.actors


def _in_pool(
    ds: ray.data.Dataset, step: type, arguments: tuple[Any, ...], plan: ActorPlan, careful: bool, *, threads: int
) -> ray.data.Dataset:
    import ray.data

    with warnings.catch_warnings():
        # max_restarts and max_task_retries pass through **ray_remote_args, which Ray announces to remove in 2.64.
        warnings.simplefilter("ignore", DeprecationWarning)
        return ds.map(
            step,
            fn_constructor_args=arguments,
            num_cpus=plan.cpus,
            num_gpus=plan.gpus or None,
            compute=ray.data.ActorPoolStrategy(
                min_size=plan.minimum,
                max_size=plan.maximum,
                initial_size=plan.initial,
                max_tasks_in_flight_per_actor=1 if careful else plan.in_flight,
                enable_true_multi_threading=threads > 1,
            ),
            # Told to the actors alone: by what the pool knows, one that has as many shards as threads is idle enough.
            ray_remote_args_fn=lambda: {"max_concurrency": threads},
            max_restarts=-1,
            max_task_retries=0,
        )


def alone(make: Callable[[], Any]) -> Any:
    """A Ray object that will be what `make` returns. It waits for no CPU, and its process ends with it."""
    return ray.remote(num_cpus=0, max_calls=1)(_alone).remote(make)


def _alone(make: Callable[[], Any]) -> Any:
    _end_for_sure()
    return make()


def known_to(actors: ActorPlan, make: Callable[[], Any]) -> Callable[[], Any]:
    """For the actors to call: gives what `make` returns, which is the same wherever it is called.

    Those on CPUs call it themselves: another process would take longer to start, and take that from their CPUs. Those
    on GPUs may have no room for a second model: one process without a GPU calls it for all of them.
    """
    return functools.partial(result_of, alone(make)) if actors.gpus else functools.partial(_and_trimmed, make)


def _and_trimmed(make: Callable[[], Any]) -> Any:
    try:
        return make()
    finally:
        trim_heap()


def result_of(ref: Any) -> Any:
    """A Ray object's value; the project's own errors come out as they were raised.

    Raises:
        LostError: it was lost with a process or a machine, more often than Ray makes it anew.
    """
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, StRayError):
            raise error.cause from None
        if isinstance(error.cause, _LOST):
            raise _lost(error.cause) from error
        raise
    except _LOST as error:
        raise _lost(error) from error


def _lost(error: Exception) -> LostError:
    return LostError(
        f"processes or machines were lost in the midst of it: {type(error).__name__}: {reason_of(error)}",
        "run the same command again: what is committed is kept",
    )


def failure_of(row: Row) -> StRayError | None:
    """The error of a row that failed in some step, else None."""
    return unpack(row["failure"]) if row.get("failure") else None


def seconds_of(row: Row) -> dict[str, float]:
    """What each step so far took of the shard, by the step's name."""
    return unpack(row["took"]) if row.get("took") else {}


def step_name(step: Any) -> str:
    """`ReadAndTokenize` -> `read and tokenize`; of a function its own name."""
    name = getattr(step, "__name__", type(step).__name__)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").strip().lower()


def _run(step: Callable[[Row], Row], row: Row) -> Row:
    if row.get("failure"):
        return row
    kept = {key: row[key] for key in ("shard", "name", "output")}
    name, begun = step_name(step), time.perf_counter()
    try:
        with titled(name, row["name"], row["output"]):
            result = step(row)
        took = seconds_of(row) | {name: time.perf_counter() - begun}
        return kept | result | {"failure": b"", "took": pack(took)}
    except Exception as error:  # the driver reports it, with the shard's name
        return kept | {"failure": pack(_told(error))}


def _told(error: Exception) -> StRayError:
    """The error that is being handled, as one of the project's own."""
    if isinstance(error, StRayError):
        return error
    told = ShardError(f"{type(error).__name__}: {error}")
    told.details = traceback.format_exc()
    return told


class _Guarded:
    def __init__(self, step: Callable[[Row], Row]) -> None:
        self._step = step
        self.__name__ = getattr(step, "__name__", type(step).__name__)

    def __call__(self, row: Row) -> Row:
        return _run(self._step, row)


def _set_up_process() -> None:
    """For the life of an actor."""
    keep_freed_memory()
    _end_for_sure()


def _end_for_sure() -> None:
    """See to it that this process is gone some seconds after it began to end.

    Ray 2.60 can wait for itself for ever on the way out, in the destructor of its core worker (`~Publisher` posts to a
    queue whose lock is held): such a process stays, with all the memory of its model. Nothing of Python runs by then,
    so it is left to the kernel.
    """

    def begin() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_END_SECONDS)

    atexit.register(begin)


class _GuardedActor:
    def __init__(self, make: Callable[[], Callable[[Row], Row]]) -> None:
        _set_up_process()
        try:
            self._step = make()
        except StRayError as error:
            # A model that no actor can load: the shards report it. Any other fault is Ray's to retry elsewhere.
            self._step = _Refusal(error)

    def __call__(self, row: Row) -> Row:
        return _run(self._step, row)


class _OneProcess:
    """All steps of a shard. The model has a thread of its own, beside which the next shard is read and the last one is
    written; it is loaded there too, while the first shard is read."""

    def __init__(
        self, read: Callable[[Row], Row], make: Callable[[], Callable[[Row], Row]], last: Callable[[Row], Row]
    ) -> None:
        _set_up_process()
        self._read, self._last = read, last
        self._thread = ThreadPoolExecutor(1)
        self._model = self._thread.submit(_made, make)

    def __call__(self, row: Row) -> Row:
        read = _run(self._read, row)
        return _run(self._last, self._thread.submit(self._work, read).result())

    def _work(self, row: Row) -> Row:
        return _run(self._model.result(), row)


def _made(make: Callable[[], Callable[[Row], Row]]) -> Callable[[Row], Row]:
    """The step, or one that reports why there is none: the actor is at work by then, so that Ray sees no fault."""
    try:
        return make()
    except Exception as error:
        return _Refusal(_told(error))


class _Refusal:
    def __init__(self, error: StRayError) -> None:
        self._error = error

    def __call__(self, row: Row) -> Row:
        raise self._error
