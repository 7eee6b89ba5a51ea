"""A small network, examples in memory, and hooks that remember: what the loop is tested with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from st_ray.models.network import TokenBatch
from st_ray.models.tokens import TokenizedTexts
from st_ray.training.crew import Crew
from st_ray.training.history import Record
from st_ray.training.loop import Outcome, StateWriter, train
from st_ray.training.losses import LOSSES
from st_ray.training.settings import Settings

VOCABULARY = 40
CPU = torch.device("cpu")


class ToyNetwork(nn.Module):
    """The mean of transformed token embeddings, `[rows, width]`."""

    padding_id = 0

    def __init__(self, width: int = 1, dropout: float = 0.0, hidden: int = 12, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(VOCABULARY, hidden)
        self.LayerNorm = nn.LayerNorm(hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        # A bias would have no influence on some losses: its gradient would be rounding, which Adam makes large.
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, batch: TokenBatch) -> Tensor:
        hidden = self.dropout(torch.tanh(self.mix(self.LayerNorm(self.embed(batch.ids))))).float()
        mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
        mean = (hidden * mask[:, :, None]).sum(dim=1) / batch.lengths[:, None].clamp(min=1)
        return self.out(mean).float()


@dataclass(frozen=True)
class ToyBlock:
    tokens: TokenizedTexts
    labels: np.ndarray
    inputs: int

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths.reshape(self.inputs, -1).max(axis=0).astype(np.int64)


@dataclass(frozen=True)
class ToyExamples:
    """Token ids of each example's inputs, and labels float32 `[n, m]`."""

    texts: list[list[list[int]]]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> ToyBlock:
        inputs = len(self.texts[0])
        columns = [self.texts[row][column] for column in range(inputs) for row in rows]
        flat = np.array([token for text in columns for token in text], np.int32)
        return ToyBlock(TokenizedTexts(flat, np.array([*map(len, columns)], np.int32)), self.labels[rows], inputs)


WIDTHS = {"ce": 3, "cosine": 5, "cosent": 5, "angle": 6}
"""Of the network's output, where it is not 1."""
INPUTS = {"margin-mse": 3, "cosine": 2, "cosent": 2, "angle": 2}
"""Of an example, where it is not 1."""


def toy_examples(loss: str = "bce", count: int = 13, seed: int = 1) -> ToyExamples:
    """Random examples of 1 to 8 tokens that fit `loss`; some labels are equal."""
    random = np.random.default_rng(seed)
    inputs = INPUTS.get(loss, 1)
    texts = [
        [random.integers(1, VOCABULARY, random.integers(1, 9)).tolist() for _ in range(inputs)] for _ in range(count)
    ]
    if loss == "margin-mse":
        labels = random.normal(size=(count, inputs))
    elif loss == "ce":
        labels = random.integers(0, 3, (count, 1))
    else:
        labels = random.integers(0, 5, (count, 1)) / 4
    return ToyExamples(texts, labels.astype(np.float32))


@dataclass
class Remember:
    """Hooks that note what they are told.

    Attributes:
        folder: where checkpoints go, each into a folder named by its step; None for nowhere.
        metrics: what evaluations give, one after the other.
        interrupt_at: the step that fails once it has been taken.
    """

    folder: Path | None = None
    metrics: list[Mapping[str, float]] = field(default_factory=list)
    interrupt_at: int | None = None
    records: list[Record] = field(default_factory=list)
    evaluated: list[bool] = field(default_factory=list)
    saved: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)
    steps: int = 0
    examples: int = 0
    tokens: int = 0

    def progress(self, examples: int, tokens: int) -> None:
        self.steps, self.examples, self.tokens = self.steps + 1, self.examples + examples, self.tokens + tokens
        if self.steps == self.interrupt_at:
            raise InterruptedError

    def evaluate(self, network: nn.Module) -> Mapping[str, float] | None:
        self.evaluated.append(network.training)
        return self.metrics.pop(0) if self.metrics else None

    def log(self, record: Record) -> None:
        self.records.append(record)

    def checkpoint(self, write: StateWriter, metrics: Mapping[str, float]) -> None:
        step = self.records[-1].step
        self.saved.append((step, metrics))
        if self.folder is not None:
            write(self.folder / str(step))


def run(
    loss: str = "bce",
    *,
    examples: Any = None,
    network: nn.Module | None = None,
    dropout: float = 0.0,
    crew: Crew | None = None,
    hooks: Remember | None = None,
    start: Any = None,
    **settings: Any,
) -> tuple[nn.Module, Outcome]:
    """Train a toy network; a high learning rate, so that steps count."""
    network = network or ToyNetwork(WIDTHS.get(loss, 1), dropout)
    wanted = Settings(**{"batch_size": 4, "lr": 0.01, "epochs": 2, **settings})
    examples = examples or toy_examples(loss)
    outcome = train(network, examples, LOSSES[loss], wanted, crew or Crew(), CPU, hooks or Remember(), start)
    return network, outcome


def equal_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether they are the same to the bit."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The greatest difference of two networks' weights."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)
