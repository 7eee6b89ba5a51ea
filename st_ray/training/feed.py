"""From examples on storage to what each step takes: padded micro-batches of this process's share, made ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from st_ray.models.batching import Tokens
from st_ray.models.network import TokenBatch
from st_ray.training.batches import BatchPlan
from st_ray.training.crew import Crew

_AHEAD = 16
"""Steps that wait, ready; so long may it take to read the next window of examples."""

T = TypeVar("T")


class Block(Protocol):
    """n examples in memory, each of k inputs and m labels."""

    @property
    def tokens(self) -> Tokens:
        """All inputs, column after column: input j of example i is row `j * n + i`."""

    @property
    def labels(self) -> np.ndarray:
        """float32 `[n, m]`."""

    @property
    def inputs(self) -> int:
        """Inputs of an example, k."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the longest input of each example, int64 `[n]`."""


class SupportsTake(Protocol):
    """Examples by their numbers."""

    def take(self, rows: np.ndarray) -> Block:
        """The examples with these numbers, int64 `[n]`, in this order."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class MicroBatch:
    """b examples that go through the network at once.

    Attributes:
        tokens: their inputs, k * b rows, column after column.
        labels: float32 `[b, m]`.
    """

    tokens: TokenBatch
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> MicroBatch:
        """The same on `device`; the copy may still be under way."""
        if device.type == "cpu":
            return self
        tokens = self.tokens
        moved = replace(
            tokens,
            ids=_moved(tokens.ids, device),
            lengths=_moved(tokens.lengths, device),
            mask=None if tokens.mask is None else _moved(tokens.mask, device),
            type_ids=None if tokens.type_ids is None else _moved(tokens.type_ids, device),
        )
        return MicroBatch(moved, _moved(self.labels, device))


@dataclass(frozen=True)
class Batch:
    """The batch of one step, as one process sees it.

    Attributes:
        step: number of the step; the first is 0.
        examples: of all processes.
        own: of this process; where it is 0, its one micro-batch holds an example that must not count.
        tokens: of this process's examples, padding left out.
        labels: of all processes' examples, in the order of `Crew.gather`, float32 `[examples, m]`.
        micro: this process's examples, the longest first.
        at_once: whether no process has more than one micro-batch; the same for all of them.
    """

    step: int
    examples: int
    own: int
    tokens: int
    labels: Tensor
    micro: tuple[MicroBatch, ...]
    at_once: bool


@dataclass(frozen=True)
class Feed:
    """The batches of a training, as one process takes them.

    Attributes:
        examples: of which each process reads whole windows, to know their lengths.
        plan: which of them make which batch.
        crew: the processes.
        micro_batch_size: examples that go through the network at once, at most; None for the whole share of a batch.
        padding_id: what padded places are filled with.
    """

    examples: SupportsTake
    plan: BatchPlan
    crew: Crew
    micro_batch_size: int | None
    padding_id: int

    def ahead(self, start: int = 0) -> Generator[Batch, None, None]:
        """As `batches`, made by a thread of its own a little ahead; to be closed when no more are wanted."""
        return _ahead(self.batches(start), _AHEAD)

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """The batches of all steps from `start` on."""
        for window in self.plan.windows(start):
            block = self.examples.take(window.rows)
            for step, rows in enumerate(self.plan.batches(window, block.lengths), window.first_step):
                if step >= start:
                    yield self._batch(step, block, rows)

    def _batch(self, step: int, block: Block, rows: np.ndarray) -> Batch:
        """One step's batch, of the examples `rows` of `block`."""
        # Shares of equal work, and micro-batches of like length.
        rows = rows[np.argsort(-block.lengths[rows], kind="stable")]
        own = self.crew.share(rows)
        tokens = block.tokens.lengths[_input_rows(block, own)].sum(dtype=np.int64)
        # A process without a share still takes part in what all do together.
        run = own if len(own) else rows[:1]
        most = self.micro_batch_size or len(rows)
        parts = np.array_split(run, -(-len(run) // most))
        return Batch(
            step=step,
            examples=len(rows),
            own=len(own),
            tokens=int(tokens),
            labels=torch.from_numpy(block.labels[rows]),
            micro=tuple(micro_batch(block, part, self.padding_id) for part in parts),
            at_once=len(rows) <= most * self.crew.world,
        )


def micro_batch(block: Block, rows: np.ndarray, padding_id: int) -> MicroBatch:
    """The examples `rows`, int `[b]`, of `block`, padded to the longest."""
    inputs = _input_rows(block, rows)
    lengths = block.tokens.lengths[inputs].astype(np.int64)
    # An input without tokens still takes a place for the network to attend to.
    visible = np.maximum(lengths, 1)
    width = int(visible.max())
    ids, type_ids = block.tokens.padded(inputs, width, padding_id)
    mask = None if visible.min() == width else (np.arange(width) < visible[:, None]).astype(np.int64)
    tokens = TokenBatch(
        torch.from_numpy(ids),
        torch.from_numpy(lengths),
        None if mask is None else torch.from_numpy(mask),
        None if type_ids is None else torch.from_numpy(type_ids),
        block.tokens.prompt_length,
    )
    return MicroBatch(tokens, torch.from_numpy(block.labels[rows]))


def _input_rows(block: Block, rows: np.ndarray) -> np.ndarray:
    """Where in the block's tokens the inputs of the examples `rows` stand, column after column."""
    return (np.arange(block.inputs)[:, None] * len(block.labels) + rows).ravel()


def _ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
    """The items, of which a thread makes up to `count` in advance; what goes wrong there is raised in its turn."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        waiting = deque(pool.submit(next, items, None) for _ in range(count))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory().to(device, non_blocking=True)
