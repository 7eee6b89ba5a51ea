"""Batches under a token budget, and the padded arrays that a batch becomes. Pure NumPy, no loop per row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Tokens(Protocol):
    """n tokenized texts, or pairs of texts."""

    @property
    def prompt_length(self) -> int:
        """Tokens at the start of every row that a pooling without the prompt leaves out."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int32 `[n]`."""

    @property
    def highest_token(self) -> int:
        """The greatest token id; 0 where there are none."""

    def padded(self, rows: np.ndarray, width: int, fill: int) -> tuple[np.ndarray, np.ndarray | None]:
        """See `TokenizedTexts.padded`."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class PaddedBatch:
    """Some of the texts, side by side and padded on the right.

    Attributes:
        rows: int64 `[b]`, which texts.
        ids: int64 `[b, width]`.
        lengths: int64 `[b]`, tokens of each text.
        mask: int64 `[b, width]`, 1 for tokens and 0 for padding; None where nothing is padded.
        type_ids: int64 `[b, width]`, or None where all are zero.
    """

    rows: np.ndarray
    ids: np.ndarray
    lengths: np.ndarray
    mask: np.ndarray | None
    type_ids: np.ndarray | None


def padded_batches(tokens: Tokens, budget: int, fill: int, max_rows: int | None = None) -> Iterator[PaddedBatch]:
    """All texts in batches of similar length, the longest first; see `token_budget_batches`."""
    every = tokens.lengths
    for rows in token_budget_batches(every, budget, max_rows=max_rows):
        lengths = every[rows].astype(np.int64)
        # A row without tokens still takes a place for the model to attend to; pooling leaves it out.
        visible = padded_length(lengths, 1)
        width = int(visible.max())
        ids, type_ids = tokens.padded(rows, width, fill)
        mask = None if visible.min() == width else (np.arange(width) < visible[:, None]).astype(np.int64)
        yield PaddedBatch(rows, ids, lengths, mask, type_ids)


def token_budget_batches(
    lengths: np.ndarray, budget: int, multiple: int = 1, max_rows: int | None = None
) -> list[np.ndarray]:
    """Cut the rows into batches of similar length, so that rows x padded length stays within `budget`.

    Args:
        lengths: tokens of each row, int `[n]`.
        budget: tokens of a batch, padding included; a row that is longer has a batch of its own.
        multiple: lengths are padded to a multiple of this.
        max_rows: rows of a batch, where they are bounded too.

    Returns:
        Row indices of each batch, longest rows first: the largest batch runs first, so that a lack of memory shows
        at once. Together they are a permutation of all rows; rows of equal length keep their order.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    widths = padded_length(np.asarray(lengths)[order], multiple)
    most = len(order) if max_rows is None else max_rows
    batches = []
    start = 0
    while start < len(order):
        rows = max(1, min(most, budget // int(widths[start])))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def padded_length(length: np.ndarray, multiple: int) -> np.ndarray:
    """Length rounded up to a multiple, at least one: a model cannot run over no tokens at all."""
    return np.maximum(-(-length // multiple), 1) * multiple
