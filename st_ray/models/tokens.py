"""Token ids of texts, one behind the other, and rows of them side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, one after the other.

    Attributes:
        flat: int32 `[tokens]`.
        lengths: int32 `[n]`, tokens of each text, special tokens included.
        prompt_length: tokens at the start of every text that a pooling without the prompt leaves out.
        type_ids: int32 `[tokens]`, or None where all are zero.
    """

    flat: np.ndarray
    lengths: np.ndarray
    prompt_length: int = 0
    type_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def highest_token(self) -> int:
        """The greatest token id; 0 where there are none."""
        return int(self.flat.max(initial=0))

    def padded(self, rows: np.ndarray, width: int, fill: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Some of the texts side by side, padded on the right.

        Args:
            rows: int `[b]`, which texts; none is longer than `width`.
            fill: token id of padding.

        Returns:
            Token ids and type ids (None where all are zero), int64 `[b, width]` each.
        """
        lengths = self.lengths[rows].astype(np.int64)
        starts = self._ends[rows] - lengths
        types = self.type_ids
        return (
            gather_padded(self.flat, starts, lengths, width, fill),
            None if types is None else gather_padded(types, starts, lengths, width, 0),
        )

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.lengths, dtype=np.int64)


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


def joined(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The rows, one behind the other, and their lengths, int32 each."""
    lengths = np.fromiter(map(len, rows), np.int32, len(rows))
    return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths


def gather_ragged(flat: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Rows of the flat array, one behind the other; row i is `flat[starts[i] : starts[i] + lengths[i]]`."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return flat[np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)]


@dataclass(frozen=True)
class BareTexts:
    """Token ids of n texts without special tokens, of each text as many as any pair with it can keep.

    Attributes:
        flat: int32 `[tokens]`.
        lengths: int32 `[n]`, tokens of each whole text.
        most: tokens of a text that are in `flat` at most; None where nothing bounds them.
    """

    flat: np.ndarray
    lengths: np.ndarray
    most: int | None

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def ends(self) -> np.ndarray:
        """Where in `flat` each text ends, int64 `[n]`."""
        return np.cumsum(self.kept, dtype=np.int64)

    @property
    def kept(self) -> np.ndarray:
        """Tokens of each text that are in `flat`, int32 `[n]`."""
        return self.lengths if self.most is None else np.minimum(self.lengths, self.most)
