"""Texts of a dataset and of a corpus as Arrow columns, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def column_names(dataset: Any, anchor: str | None, positive: str | None) -> tuple[str, str]:
    """Those of anchors and positives: as given, else the first column, and the first one besides.

    Raises:
        TypeError: this is no `datasets.Dataset`.
        ValueError: a column is missing, or both are the same.
    """
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or not hasattr(dataset, "select_columns") or not hasattr(dataset, "__len__"):
        raise TypeError(f"expected a datasets.Dataset, not {type(dataset).__name__}; pass one split, loaded in full")
    for name in (anchor, positive):
        if name is not None and name not in names:
            raise ValueError(f"the dataset has no column {name!r}; it has {', '.join(map(repr, names)) or 'none'}")
    others = [name for name in names if name not in (anchor, positive)]
    if len(others) < (anchor is None) + (positive is None):
        raise ValueError(
            f"two columns are needed, anchors and positives; the dataset has {', '.join(map(repr, names))}"
        )
    anchor = anchor if anchor is not None else others.pop(0)
    positive = positive if positive is not None else others.pop(0)
    if anchor == positive:
        raise ValueError(f"anchors and positives are both to be read from column {anchor!r}")
    return anchor, positive


def pair_texts(dataset: Any, anchor: str, positive: str) -> tuple[pa.LargeStringArray, pa.LargeStringArray]:
    """The two columns.

    Raises:
        TypeError: a column holds no strings, or a row has none; the row is named.
        ValueError: there are no rows, or a text is empty; the row is named.
    """
    if not len(dataset):
        raise ValueError("the dataset has no rows")
    table = dataset.select_columns([anchor, positive]).with_format("arrow")[:]
    return _texts_of(table[anchor], anchor), _texts_of(table[positive], positive)


def corpus_texts(corpus: Sequence[str]) -> tuple[pa.LargeStringArray, int]:
    """The texts of the corpus that are not empty, and how many are: an empty text is nobody's negative.

    Raises:
        TypeError: this is no list of strings; the position is named.
        ValueError: a text that UTF-8 cannot encode; the position is named.
    """
    if isinstance(corpus, (str, bytes)):
        raise TypeError(f"corpus must be a list of texts, not {type(corpus).__name__}")
    texts = list(corpus)
    odd = next((place for place, text in enumerate(texts) if not isinstance(text, str)), None)
    if odd is not None:
        raise TypeError(f"corpus[{odd}] is {texts[odd]!r:.80}, expected a string")
    try:
        column = pa.array(texts, pa.large_string())
    except UnicodeEncodeError as error:
        place = next(place for place, text in enumerate(texts) if text is error.object or text == error.object)
        raise ValueError(f"corpus[{place}] cannot be encoded in UTF-8: {error.reason}") from error
    found = column.filter(pc.invert(_empty(column)))
    return found, len(column) - len(found)


def _texts_of(column: pa.ChunkedArray, name: str) -> pa.LargeStringArray:
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise TypeError(f"column {name!r} holds {kind}, expected strings")
    if column.null_count:
        raise TypeError(f"row {_first(column.is_null())} of column {name!r} is None, expected a string")
    empty = _empty(column)
    if pc.any(empty).as_py():
        raise ValueError(
            f"row {_first(empty)} of column {name!r} is an empty text; there are {pc.sum(empty)} such rows"
        )
    texts = column.cast(pa.large_string()).combine_chunks()
    return pa.concat_arrays(texts.chunks) if isinstance(texts, pa.ChunkedArray) else texts


def _empty(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.equal(pc.utf8_trim_whitespace(column), "")


def _first(mask: pa.ChunkedArray) -> int:
    return pc.index(mask, True).as_py()
