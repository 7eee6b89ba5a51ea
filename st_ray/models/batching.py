"""Batches under a token budget, and the padded arrays that a batch becomes. Pure NumPy, no loop per row."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Remainder:
    """What attention does with the end of a row: behind the last multiple of `step`, it computes number by number.

    Attributes:
        step: places that are computed together; 1 where all lengths are alike.
        per_place: numbers that are computed one by one in the time that all else takes for one place.
    """

    step: int = 1
    per_place: int = 150


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


def padded_batches(
    tokens: Tokens,
    budget: int,
    fill: int,
    max_rows: int | None = None,
    *,
    even: bool = False,
    remainder: Remainder = Remainder(),
) -> Generator[PaddedBatch, None, None]:
    """All texts in batches of similar length, the longest first; see `token_budget_batches`.

    Args:
        tokens: the texts.
        budget: tokens of a batch, padding included.
        fill: the id of padded places.
        max_rows: rows of a batch, where they are bounded too.
        even: batches of one length, without padding, come first, as far as they can be made; see `even_batches`.
        remainder: see `rounded_up`.
    """
    every = tokens.lengths
    # A row without tokens still takes a place for the model to attend to; pooling leaves it out.
    widths = rounded_up(np.maximum(every, 1), remainder)
    left = np.arange(len(every))
    batches: list[np.ndarray] = []
    if even:
        full = np.flatnonzero(widths == every)
        batches, few = even_batches(every[full], budget, max_rows)
        batches, left = [full[rows] for rows in batches], np.concatenate([full[few], np.flatnonzero(widths != every)])
    batches += [left[rows] for rows in token_budget_batches(widths[left], budget, max_rows)]
    for rows in batches:
        lengths = every[rows].astype(np.int64)
        visible = np.maximum(lengths, 1)
        width = int(widths[rows].max())
        ids, type_ids = tokens.padded(rows, width, fill)
        mask = None if visible.min() == width else (np.arange(width) < visible[:, None]).astype(np.int64)
        yield PaddedBatch(rows, ids, lengths, mask, type_ids)


def token_budget_batches(widths: np.ndarray, budget: int, max_rows: int | None = None) -> list[np.ndarray]:
    """Cut the rows into batches of similar width, so that rows x the greatest width stays within `budget`.

    Args:
        widths: places that each row takes, int `[n]`; a row takes one at least.
        budget: places of a batch; a row that is wider has a batch of its own.
        max_rows: rows of a batch, where they are bounded too.

    Returns:
        Row indices of each batch, widest rows first: the largest batch runs first, so that a lack of memory shows
        at once. Together they are a permutation of all rows; rows of equal width keep their order.
    """
    order = np.argsort(-np.asarray(widths, np.int64), kind="stable")
    sizes = np.maximum(np.asarray(widths)[order], 1)
    most = len(order) if max_rows is None else max_rows
    batches = []
    start = 0
    while start < len(order):
        rows = max(1, min(most, budget // int(sizes[start])))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def even_batches(lengths: np.ndarray, budget: int, max_rows: int | None = None) -> tuple[list[np.ndarray], np.ndarray]:
    """Batches of rows that have one and the same length, the longest first, and the rows that are left.

    As many rows of a length as the budget allows make a batch. What then remains of them, if it is less than two thirds
    of that, is left for batches of mixed lengths: a small batch, of a shape of its own, is slower than padding.
    Arguments as of `token_budget_batches`.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    batches: list[np.ndarray] = []
    left = [order[:0]]
    for rows in np.split(order, np.flatnonzero(np.diff(np.asarray(lengths)[order])) + 1) if len(order) else ():
        most = max(1, budget // max(1, int(lengths[rows[0]])))
        most = most if max_rows is None else min(most, max_rows)
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            (batches if len(part) * 3 >= most * 2 else left).append(part)
    return batches, np.concatenate(left)


def rounded_up(lengths: np.ndarray, remainder: Remainder) -> np.ndarray:
    """Places for rows of these lengths, int `[n]`: the next multiple of its step where that takes less time.

    The remainder takes time for each of the row's places, which grows by the product of the two; all else grows by the
    row's places alone.
    """
    behind = lengths % remainder.step
    missing = (remainder.step - behind) % remainder.step
    return np.where(lengths * behind > remainder.per_place * missing, lengths + missing, lengths)
