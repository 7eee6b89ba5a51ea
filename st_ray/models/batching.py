"""Batches under a token budget, and the padded arrays that a batch becomes. Pure NumPy, no loop per row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from st_ray.models.tokenizer import TokenizedTexts


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
    tokens: TokenizedTexts, budget: int, fill: int, max_rows: int | None = None
) -> Iterator[PaddedBatch]:
    """All texts in batches of similar length, the longest first; see `token_budget_batches`."""
    ends = np.cumsum(tokens.lengths, dtype=np.int64)
    for rows in token_budget_batches(tokens.lengths, budget, max_rows=max_rows):
        lengths = tokens.lengths[rows].astype(np.int64)
        starts = ends[rows] - lengths
        # A row without tokens still takes a place for the model to attend to; pooling leaves it out.
        visible = padded_length(lengths, 1)
        width = int(visible.max())
        types = tokens.type_ids
        yield PaddedBatch(
            rows,
            ids=gather_padded(tokens.flat, starts, lengths, width, fill),
            lengths=lengths,
            mask=None if visible.min() == width else (np.arange(width) < visible[:, None]).astype(np.int64),
            type_ids=None if types is None else gather_padded(types, starts, lengths, width, 0),
        )


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


def gather_padded(flat: np.ndarray, starts: np.ndarray, lengths: np.ndarray, width: int, fill: int) -> np.ndarray:
    """Rows of the flat array, side by side and padded on the right, int64 `[rows, width]`.

    Row i is `flat[starts[i] : starts[i] + lengths[i]]`.
    """
    columns = np.arange(width)
    if not len(flat):
        return np.full((len(starts), width), fill, np.int64)
    # Columns past a row's end read any valid place, and are overwritten.
    places = np.minimum(starts[:, None] + columns, len(flat) - 1)
    rows = flat[places].astype(np.int64)
    rows[columns >= lengths[:, None]] = fill
    return rows
