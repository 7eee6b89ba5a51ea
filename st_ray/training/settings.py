"""How a network is trained: what the loop needs to know besides the network, the examples and the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from st_ray.core.errors import ConfigError
from st_ray.training.batches import BatchPlan

DTYPES = ("float32", "bfloat16")
_DECISIVE = ("epochs", "batch_size", "lr", "warmup_ratio", "weight_decay", "max_grad_norm", "dtype", "seed", "grouped")


@dataclass(frozen=True)
class Settings:
    """The settings of a training.

    Attributes:
        epochs: how often each example is seen; a part of an epoch counts too.
        batch_size: examples of one step, all workers together.
        micro_batch_size: examples that a worker runs through the network at once; None for its whole share of a batch.
        lr: the highest learning rate; it is reached after the warm-up and falls to 0 from there.
        warmup_ratio: part of all steps in which the learning rate rises.
        weight_decay: of AdamW; biases and the weights of normalisations are left alone.
        max_grad_norm: a longer gradient is scaled down to this norm; 0 leaves every gradient as it is.
        dtype: what matrices are multiplied in; weights, sums and the optimiser are float32 in any case.
        seed: of the order of examples and of dropout.
        grouped: whether examples of like length make a batch.
        log_steps: steps between two records of the history.
        eval_steps: steps between two evaluations; None for one at the end of each epoch.
        checkpoint_steps: steps between two checkpoints; None for one at the end of each epoch.
        best_by: the metric whose highest value says which weights are the best; None: the last ones are.

    Raises:
        ConfigError: a number makes no sense.
    """

    epochs: float = 1.0
    batch_size: int = 32
    micro_batch_size: int | None = None
    lr: float = 2e-5
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    dtype: str = "float32"
    seed: int = 0
    grouped: bool = True
    log_steps: int = 10
    eval_steps: int | None = None
    checkpoint_steps: int | None = None
    best_by: str | None = None

    def __post_init__(self) -> None:
        counts = ("batch_size", "micro_batch_size", "log_steps", "eval_steps", "checkpoint_steps")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{_flag(name)} is {value}", "give 1 or more")
        for name in ("epochs", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"--{_flag(name)} is {getattr(self, name)}", "give a number above 0")
        for name in ("weight_decay", "max_grad_norm", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{_flag(name)} is {getattr(self, name)}", "give 0 or more")
        if not 0 <= self.warmup_ratio <= 1:
            raise ConfigError(f"--warmup-ratio is {self.warmup_ratio}", "give a part of all steps, from 0 to 1")
        if self.dtype not in DTYPES:
            raise ConfigError(f"--dtype is {self.dtype!r}", f"use {' or '.join(DTYPES)}")

    def plan(self, examples: int) -> BatchPlan:
        """Which of so many examples make which batch."""
        return BatchPlan(examples, self.batch_size, self.epochs, self.seed, self.grouped)

    def facts(self, loss: str, examples: int) -> dict[str, object]:
        """What the weights depend on besides data and base model: one training cannot go on as another."""
        return {"loss": loss, "examples": examples, **{name: getattr(self, name) for name in _DECISIVE}}


def _flag(name: str) -> str:
    return name.replace("_", "-")
