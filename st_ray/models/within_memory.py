"""Smaller batches where memory does not hold one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from st_ray.core.errors import ModelError, ShardError, reason_of
from st_ray.core.heap import give_back_freed_memory
from st_ray.models.batching import Tokens
from st_ray.models.options import EmbedOptions, Progress

_REMEDY = "lower --max-seq-length, start fewer actors on a machine, or take one with more memory"
Embed = Callable[[Tokens, EmbedOptions, "Progress | None"], np.ndarray]
# What torch, OpenVINO and ONNX Runtime say where they have no class for it.
_SAYS = re.compile(
    r"out of memory|bad_?alloc|(can't|cannot|could not|failed to) allocate|can't start new thread", re.IGNORECASE
)
# What torch says where oneDNN finds no memory for a kernel that it compiles.
_NO_KERNEL = re.compile("could not create a primitive$")


class OutOfMemoryError(ModelError):
    """One text or pair alone needs more memory than there is.

    Attributes:
        row: which, among those that were to be embedded.
        tokens: of that row.
    """

    def __init__(self, row: int, tokens: int, reason: str) -> None:
        super().__init__(f"memory does not hold row {row} with its {tokens} tokens: {reason}", _REMEDY)
        self.row, self.tokens, self.reason = row, tokens, reason

    def of(self, name: str) -> ShardError:
        """The same of a shard's row that its reader knows by `name`."""
        return ShardError(f"memory does not hold {name} with its {self.tokens} tokens: {self.reason}", _REMEDY)


class BatchBudget:
    """Tokens of a batch: what is asked for, and less once memory has not held that many.

    Args:
        usual: tokens of a batch where nothing is asked for.
    """

    def __init__(self, usual: int) -> None:
        self._usual = usual
        self._most: int | None = None
        self._in_new_threads = False

    def run(self, embed: Embed, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None) -> np.ndarray:
        """What `embed` gives; called anew, with half the tokens a batch, as often as it runs out of memory.

        A row is told to `on_batch` once.

        Raises:
            OutOfMemoryError: a row fails that has a batch to itself.
        """
        told = _Told(on_batch)
        while True:
            budget = min(options.batch_tokens or self._usual, _padded(tokens, options.batch_rows))
            budget = budget if self._most is None else min(budget, self._most)
            try:
                return self._embed(embed, tokens, dataclasses.replace(options, batch_tokens=budget), told.again())
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                longest = int(np.argmax(tokens.lengths))
                if budget <= tokens.lengths[longest]:
                    raise OutOfMemoryError(longest, int(tokens.lengths[longest]), reason_of(error)) from error
                self._most = max(budget // 2, 1)
                self._in_new_threads |= _NO_KERNEL.search(str(error)) is not None
            # Once the error is gone, and with it the arrays of its frames.
            give_back_freed_memory()

    def _embed(self, embed: Embed, *arguments: Any) -> np.ndarray:
        """What `embed` gives; oneDNN compiles nothing more in a thread in which it has failed once."""
        if not self._in_new_threads:
            return embed(*arguments)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(embed, *arguments).result()


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory for a batch was lacking, in the words of whichever library."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words.search(str(error)) for words in (_SAYS, _NO_KERNEL))


def _padded(tokens: Tokens, rows: int | None) -> int:
    """Tokens of the largest batch there could be."""
    most = len(tokens) if rows is None else min(rows, len(tokens))
    return max(1, most * int(tokens.lengths.max(initial=0)))


class _Told:
    """Passes on what goes beyond what was told before."""

    def __init__(self, on_batch: Progress | None) -> None:
        self._on_batch = on_batch
        self._told = self._done = (0, 0, 0)

    def again(self) -> Progress | None:
        self._done = (0, 0, 0)
        return self._count if self._on_batch is not None else None

    def _count(self, rows: int, tokens: int, places: int) -> None:
        before = self._done
        self._done = (before[0] + rows, before[1] + tokens, before[2] + places)
        new = (self._done[0] - self._told[0], self._done[1] - self._told[1], self._done[2] - self._told[2])
        if self._on_batch is not None and new[0] > 0:
            self._told = self._done
            self._on_batch(*new)
