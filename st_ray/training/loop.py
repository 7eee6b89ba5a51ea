"""The training loop: batches through the network, and at some steps a record, an evaluation and a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from st_ray.core.errors import ConfigError, StRayError
from st_ray.training.batches import BatchPlan
from st_ray.training.checkpoint import Best, State, load_weights, require_same_run, weights_of, write_state
from st_ray.training.crew import Crew
from st_ray.training.feed import Feed, SupportsTake
from st_ray.training.history import Record
from st_ray.training.losses import Loss
from st_ray.training.schedule import learning_rate, warmup_steps
from st_ray.training.settings import Settings
from st_ray.training.step import Stepper
from st_ray.training.tally import Tally

StateWriter = Callable[[Path], None]
"""Writes the training as it stands into a folder; to be called before the hook that got it returns, or not at all."""


class Hooks(Protocol):
    """What else happens during a training. All processes call each hook at the same steps."""

    def progress(self, examples: int, tokens: int) -> None:
        """A step has been taken, with so many examples and tokens of this process."""

    def evaluate(self, network: nn.Module) -> Mapping[str, float] | None:
        """Metrics of `network`, which is in evaluation mode; only those of the first process count."""

    def log(self, record: Record) -> None:
        """There is a new record."""

    def checkpoint(self, write: StateWriter, metrics: Mapping[str, float]) -> None:
        """Keep a checkpoint: the first process calls `write`; `metrics` are of this step, empty if not evaluated."""


@dataclass(frozen=True)
class Outcome:
    """A finished training, whose network has the weights of the last step.

    Attributes:
        steps: taken in all, those before a resumption too.
        history: its records.
        best: of the first process; None where no metric decides.
    """

    steps: int
    history: tuple[Record, ...]
    best: Best | None


class StoppedError(StRayError):
    """A loss or its gradient was not finite.

    Attributes:
        step: the first such step, counted from 1.
        checkpoint: the step that the last checkpoint is of; None where there is none.
    """

    step: int = 0
    checkpoint: int | None = None

    @classmethod
    def at(cls, step: int, checkpoint: int | None) -> StoppedError:
        """The error for a step."""
        kept = "no checkpoint was written before" if checkpoint is None else f"the last checkpoint is of {checkpoint}"
        error = cls(
            f"the loss or its gradient is not finite at step {step}; nothing was saved since ({kept})",
            "lower --lr, raise --warmup-ratio, use --dtype float32, or look for extreme labels in the data",
        )
        error.step, error.checkpoint = step, checkpoint
        return error


def train(
    network: nn.Module,
    examples: SupportsTake,
    loss: Loss,
    settings: Settings,
    crew: Crew,
    device: torch.device,
    hooks: Hooks,
    start: State | None = None,
) -> Outcome:
    """Train `network`, in place; all processes of `crew` call this together.

    The same seed and number of processes give the same weights, and so does a training that goes on from a checkpoint
    (to the bit where the device's kernels are deterministic, as a CPU's are).

    Args:
        network: takes a `TokenBatch` and gives float32 `[rows, width]`; has the attribute `padding_id`.
        start: where to go on; None at the beginning.

    Raises:
        StoppedError: the loss or its gradient was not finite.
        OutputError: `start` is of another training.
        ConfigError: the evaluation does not give the metric that decides.
    """
    plan = settings.plan(len(examples))
    facts = settings.facts(loss.name, len(examples))
    warmup = warmup_steps(plan.steps, settings.warmup_ratio)
    if start:
        require_same_run(start, facts)
        load_weights(network, start.network)
    network.to(device).train()
    stepper = Stepper(network, loss, settings, crew, device)
    if start:
        stepper.optimizer.load_state_dict(start.optimizer)
    history = list(start.history) if start else []
    best = start.best if start and crew.is_first else None
    saved = start.step if start else None
    begun = saved or 0
    tally = Tally(crew, device)

    def write(folder: Path) -> None:
        optimizer = stepper.optimizer.state_dict()
        write_state(folder, State(done, facts, network.state_dict(), optimizer, tuple(history), best))

    feed = Feed(examples, plan, crew, settings.micro_batch_size, network.padding_id)
    with closing(feed.ahead(begun)) as batches:
        for batch in batches:
            rate = learning_rate(batch.step, plan.steps, warmup, settings.lr)
            part, norm = stepper.take(batch, rate)
            done = batch.step + 1
            tally.add(done, batch.examples, part, norm)
            hooks.progress(batch.own, batch.tokens)

            evaluating = _due(done, settings.eval_steps, plan)
            saving = _due(done, settings.checkpoint_steps, plan)
            if not (evaluating or saving or done % settings.log_steps == 0):
                continue
            found = tally.read()
            if found.broken_step:
                raise StoppedError.at(found.broken_step, saved)
            metrics = _evaluated(network, hooks) if evaluating else {}
            best = _better(best, metrics, settings.best_by, done, network)
            history.append(
                Record(
                    step=done,
                    epoch=done / plan.steps_per_epoch,
                    loss=found.loss,
                    learning_rate=rate,
                    gradient_norm=found.gradient_norm,
                    examples_per_second=found.examples_per_second,
                    time=time.time(),
                    metrics=metrics,
                )
            )
            hooks.log(history[-1])
            if saving:
                hooks.checkpoint(write, metrics)
                saved = done
            tally.restart()
    return Outcome(plan.steps, tuple(history), best)


def _due(done: int, every: int | None, plan: BatchPlan) -> bool:
    """Whether something that is done `every` so many steps (None: each epoch), and at the end, is due."""
    return done % (every or plan.steps_per_epoch) == 0 or done == plan.steps


def _evaluated(network: nn.Module, hooks: Hooks) -> Mapping[str, float]:
    network.eval()
    metrics = hooks.evaluate(network)
    network.train()
    return dict(metrics or {})


def _better(
    best: Best | None, metrics: Mapping[str, float], name: str | None, step: int, network: nn.Module
) -> Best | None:
    """The network as it is, if `metrics` say that it is better than `best`; the first of equals stays."""
    if not metrics or name is None:
        return best
    if name not in metrics:
        raise ConfigError(f"the evaluation gives no metric {name!r}", f"name one of {', '.join(metrics)}")
    value = metrics[name]
    if math.isnan(value) or (best and value <= best.value):
        return best
    return Best(step, value, weights_of(network))
