"""Ray without Ray: tasks run where they are called, so that the code around them can be tested in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import ray

from st_ray.runtime.pipeline import pack
from st_ray.runtime.resources import Node
from st_ray.runtime.stage import Stage
from st_ray.runtime.stage_result import StageResult
from st_ray.store.output import OutputFolder, Writer


class InlineRay:
    """As much of the module as `shuffle` and `pipeline` use; it counts the tasks."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.tasks = 0

    def remote(self, function: Callable[..., Any]) -> _Remote:
        return _Remote(self, function)

    def get(self, value: Any) -> Any:
        return value


class _Remote:
    def __init__(self, owner: InlineRay, function: Callable[..., Any]) -> None:
        self._owner, self._function = owner, function

    def options(self, **options: Any) -> _Remote:
        return self

    def remote(self, *args: Any) -> Any:
        self._owner.tasks += 1
        return self._function(*args)


class NoMeter:
    def client(self) -> None:
        return None


def run_inline(stage: Stage, output: OutputFolder, writer: Writer, *_: Any) -> StageResult:
    """`run_stage`, one shard after another in this process."""
    committed = output.committed(writer)
    fresh = {
        name: writer.commit(name, stage.finish({"name": name, "task": pack(task)}))
        for name, task in zip(stage.names(), stage.tasks, strict=True)
        if name not in committed
    }
    entries = tuple((committed | fresh)[name] for name in stage.names())
    return StageResult(entries, tuple(fresh.values()), len(entries) - len(fresh), 0, 0, 0, 0)


@contextmanager
def inline_ray(*modules: str) -> Iterator[InlineRay]:
    """Tasks, and the stages of the `modules`, run in this process."""
    inline = InlineRay()
    replaced: dict[str, Any] = {
        "st_ray.runtime.shuffle.ray": inline,
        "st_ray.runtime.pipeline.ray": inline,
        "st_ray.runtime.begin.job_session": lambda *_, **__: nullcontext(),
        "st_ray.runtime.begin.data_context": lambda debug: None,
        "st_ray.store.fs.os.fsync": lambda descriptor: None,  # most of the time, with so many small files
    }
    for module in modules:
        replaced[f"{module}.run_stage"] = run_inline
        replaced[f"{module}.Meter"] = NoMeter
        replaced[f"{module}.cluster_nodes"] = lambda: [Node(2, 0)]
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch(f"{module}.cluster_can_grow", lambda: False, create=True))
        for name, value in replaced.items():
            stack.enter_context(mock.patch(name, value))
        yield inline
