"""What each process of a training runs under Ray Train; it ends with the model folder, written by the first one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_ray.runtime.meter import MeterClient
from st_ray.runtime.model_output import TRAINING
from st_ray.runtime.training.base import BaseModel
from st_ray.runtime.training.evaluators import Evaluator, Measured, evaluator_for
from st_ray.runtime.training.output import EVENTS, HISTORY
from st_ray.store import fs
from st_ray.training.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from st_ray.training.checkpoint import State
    from st_ray.training.crew import Crew
    from st_ray.training.examples import Examples
    from st_ray.training.history import Record
    from st_ray.training.loop import Outcome, StateWriter

_EVAL_BUDGET = {"cpu": 1024, "cuda": 65_536}
"""Tokens of a batch when the model is measured, padding included."""


@dataclass(frozen=True)
class Evaluation:
    """What the model is measured on.

    Attributes:
        examples: parts.
        digest: of their content.
        evaluator: its name; see `evaluator_for`.
        binary: whether all labels are 0 or 1.
        ranked: whether each query has documents of its own; see `evaluator_for`.
    """

    examples: tuple[str, ...]
    digest: str
    evaluator: str
    binary: bool
    ranked: bool

    def by(self, loss: str) -> Evaluator:
        """The evaluator."""
        return evaluator_for(self.evaluator, loss, self.binary, self.ranked)


@dataclass(frozen=True)
class TrainTask:
    """Everything that a process needs to know.

    Attributes:
        examples: parts to train on.
        digest: of their content.
        output: where the model folder goes.
        threads: of a process on CPUs.
    """

    base: BaseModel
    loss: str
    examples: tuple[str, ...]
    digest: str
    evaluation: Evaluation | None
    settings: Settings
    output: str
    threads: int
    meter: MeterClient


def train_worker(task: TrainTask) -> dict[str, Any]:
    """Train, from the last checkpoint on if there is one.

    Returns:
        Of the first process, `history` and `best`; where the loss was not finite, `stopped` with what to say of it.
        An error would be taken for a lost process, and be tried again.
    """
    import ray.train
    import ray.train.torch
    import torch

    from st_ray.core.errors import StRayError
    from st_ray.core.heap import keep_freed_memory
    from st_ray.training.crew import Crew
    from st_ray.training.examples import Examples
    from st_ray.training.loop import train
    from st_ray.training.losses import LOSSES

    crew = Crew.current()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(task.threads)
        keep_freed_memory(largest=None)
    try:
        network = task.base.network(task.settings.seed)
        examples = Examples.open(task.examples, task.digest)
        start = _last_checkpoint()
        measure = _measuring(task, crew, device)
        with _events(task, crew, start) as log:
            hooks = _Hooks(task, crew, measure, log)
            outcome = train(network, examples, LOSSES[task.loss], task.settings, crew, device, hooks, start)
        task.meter.flush()
        if crew.is_first:
            _write_model(task, network, outcome)
    except StRayError as error:
        return {"stopped": {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}}
    best = outcome.best
    return {
        "outputs": width_of(network),
        "steps": outcome.steps,
        "resumed_at": start.step if start else 0,
        "history": [record.to_json() for record in outcome.history],
        "best": best and {"step": best.step, "value": best.value},
        "parameters": sum(tensor.numel() for tensor in network.parameters()),
    }


@dataclass(frozen=True)
class _Measure:
    """Measures the network on this process's share of the evaluation data; the first one gets all figures."""

    task: TrainTask
    examples: Examples
    evaluator: Evaluator
    crew: Crew
    device: torch.device

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """All processes call it together; the network is in evaluation mode."""
        import torch

        from st_ray.training.losses import LOSSES
        from st_ray.training.measure import scores_of

        own = self.crew.share(np.arange(len(self.examples)))
        budget, dtype = _EVAL_BUDGET[self.device.type], self.task.settings.dtype
        scores, labels = scores_of(network, self.examples, own, LOSSES[self.task.loss], self.device, dtype, budget)
        total = len(self.examples)
        everyone, golds = (
            self.crew.gather(torch.from_numpy(values).to(self.device), total).cpu().numpy()
            for values in (scores, labels)
        )
        if not self.crew.is_first:
            return {}
        return self.evaluator.figures(Measured(everyone, golds, self.examples.keys()))


def _measuring(task: TrainTask, crew: Crew, device: torch.device) -> _Measure | None:
    from st_ray.training.examples import Examples

    if task.evaluation is None:
        return None
    examples = Examples.open(task.evaluation.examples, task.evaluation.digest)
    return _Measure(task, examples, task.evaluation.by(task.loss), crew, device)


@dataclass(frozen=True)
class _Hooks:
    """What happens beside the training; see `st_ray.training.loop.Hooks`."""

    task: TrainTask
    crew: Crew
    measure: _Measure | None
    log_to: _Events | None

    def progress(self, examples: int, tokens: int) -> None:
        self.task.meter.add(rows=examples, tokens=tokens, steps=1 if self.crew.is_first else 0)

    def evaluate(self, network: nn.Module) -> Mapping[str, float] | None:
        return self.measure(network) if self.measure else None

    def log(self, record: Record) -> None:
        if self.log_to is not None:
            self.log_to.add(record)
            figures = {f"eval {name}": value for name, value in record.metrics.items()}
            self.task.meter.put(step=record.step, loss=record.loss, **figures)

    def checkpoint(self, write: StateWriter, metrics: Mapping[str, float]) -> None:
        import ray.train

        if self.log_to is not None:
            self.log_to.publish()
        with tempfile.TemporaryDirectory(prefix="st-ray-checkpoint-") as folder:
            made = None
            if self.crew.is_first:
                write(Path(folder))
                made = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(dict(metrics), checkpoint=made)


class _Events:
    """The first process's log: TensorBoard's files, and the records as JSON lines, in the output's folder."""

    def __init__(self, task: TrainTask, records: tuple[Record, ...], folder: Path) -> None:
        from st_ray.training.history import EventLog

        self._target = fs.join(task.output, TRAINING)
        self._folder = folder
        self._records = list(records)
        fs.remove(fs.join(self._target, EVENTS), recursive=True)
        self._events = EventLog(folder, records)

    def add(self, record: Record) -> None:
        self._records.append(record)
        self._events.add(record)

    def publish(self) -> None:
        """Copy what there is so far to the output."""
        self._events.flush()
        for file in sorted(self._folder.iterdir()):
            fs.write_atomic(fs.join(self._target, EVENTS, file.name), file.read_bytes())
        lines = "".join(json.dumps(record.to_json()) + "\n" for record in self._records)
        fs.write_atomic(fs.join(self._target, HISTORY), lines.encode())

    def close(self) -> None:
        self.publish()
        self._events.close()


@contextmanager
def _events(task: TrainTask, crew: Crew, start: State | None) -> Iterator[_Events | None]:
    if not crew.is_first:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="st-ray-events-") as folder:
        log = _Events(task, start.history if start else (), Path(folder))
        try:
            yield log
        finally:
            log.close()


def _last_checkpoint() -> State | None:
    import ray.train

    from st_ray.training.checkpoint import read_state

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return read_state(Path(folder))


def width_of(network: nn.Module) -> int:
    """Logits of a pair, or dimensions of an embedding."""
    import torch

    from st_ray.models.network import TokenBatch

    with torch.inference_mode():
        one = TokenBatch(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.int64))
        return int(network.cpu().eval()(one).shape[1])


def _write_model(task: TrainTask, network: nn.Module, outcome: Outcome) -> None:
    """The model folder, with the best weights where an evaluation has named them."""
    from st_ray.training.checkpoint import load_weights

    if outcome.best is not None:
        load_weights(network, outcome.best.weights)
    with tempfile.TemporaryDirectory(prefix="st-ray-model-") as folder:
        task.base.write(network.cpu(), Path(folder), task.loss)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                fs.write_atomic(fs.join(task.output, file.relative_to(folder).as_posix()), file.read_bytes())
