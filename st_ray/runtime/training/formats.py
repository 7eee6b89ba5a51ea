"""Rows out of files that hold the texts themselves: pairs, tuples and lists, and the labels that a loss can use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_ray.runtime.training.layout import ExampleFlags, Layout
from st_ray.runtime.training.rows import Rows, ShardRows
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec, ValueColumn
from st_ray.training.loss_rules import LabelRule, label_rule
from st_ray.training.tuples import pairs_of_tuples

_MOST_CLASSES = 1 << 16
"""A model with more logits is hardly meant: the column rather holds ids."""


def read_spec(layout: Layout, flags: ExampleFlags) -> ReadSpec:
    """The columns to read, and what must be in them."""
    texts: Literal["text", "texts"] = "texts" if layout.format == "lists" else "text"
    classes = (flags.classes or _MOST_CLASSES) if flags.loss == "ce" else None
    if layout.labels_are_lists:
        labels = [ValueColumn(name, "numbers") for name in layout.labels]
    elif classes:
        labels = [ValueColumn(name, "class", classes) for name in layout.labels]
    else:
        labels = [ValueColumn(name, "number") for name in layout.labels]
    return ReadSpec(
        text_columns=(layout.query,),
        columns=flags.columns or None,
        quotes=flags.quotes,
        values=(*(ValueColumn(name, texts) for name in layout.documents), *labels),
        check=LabelCheck(layout, flags.loss, flags.label_scale, label_rule(flags.loss, classes)) if labels else None,
    )


@dataclass(frozen=True)
class LabelCheck:
    """Finds rows whose labels a loss cannot use, or that are not one for each text; a `RowCheck`.

    Attributes:
        rule: of labels once they are divided.
    """

    layout: Layout
    loss: str
    scale: float
    rule: LabelRule

    def __call__(self, values: Mapping[str, pa.Array]) -> Mapping[int, str]:
        """See `RowCheck`."""
        bad: dict[int, str] = {}
        for name in self.layout.labels:
            row, labels = _flat(values[name])
            for place in np.flatnonzero(self.rule.broken(labels / self.scale)).tolist():
                bad.setdefault(int(row[place]), self._reason(name, float(labels[place])))
        if self.layout.labels_are_lists:
            bad = {**self._wrong_lengths(values), **bad}
        return bad

    def _reason(self, name: str, label: float) -> str:
        holds = f"column {name!r} holds {'a list with ' if self.layout.labels_are_lists else ''}{label:g}"
        low, high = self.rule.low, self.rule.high
        if self.rule.whole:
            return f"{holds}, not a whole number from 0 to {high:.0f}"
        if self.scale != 1:
            holds += f" ({label / self.scale:g} after --label-scale {self.scale:g})"
        if label > 0 or low < 0:
            advice = f"--label-scale {abs(label):g} would make it {np.sign(label):g}"
        else:
            advice = "no --label-scale brings it there"
        return f"{holds}; --loss {self.loss} takes {low:g} to {high:g}: {advice}"

    def _wrong_lengths(self, values: Mapping[str, pa.Array]) -> dict[int, str]:
        (name,) = self.layout.labels
        found = _lengths(values[name])
        if self.layout.format == "tuples":
            expected = len(self.layout.documents)
            wrong = np.flatnonzero(found != expected)
            return {
                row: f"column {name!r} holds {found[row]} scores, not one for each of {expected} texts"
                for row in wrong.tolist()
            }
        (documents,) = self.layout.documents
        texts = _lengths(values[documents])
        wrong = np.flatnonzero((found != texts) | (found == 0))
        return {
            row: f"column {documents!r} holds {texts[row]} texts, column {name!r} {found[row]} labels"
            for row in wrong.tolist()
        }


@dataclass(frozen=True)
class ReadRows:
    """Reads the rows of a shard of files; runs in a task.

    Attributes:
        spec: the columns, as `resolve_inputs` completed them.
    """

    spec: ReadSpec
    layout: Layout
    flags: ExampleFlags

    def __call__(self, plan: ShardPlan) -> ShardRows:
        """What the shard holds.

        Raises:
            InputError: a file changed or is damaged, or a row is bad.
        """
        block = read_shard(plan, self.spec, on_bad_row=self.flags.on_bad_row)
        values = {column.name: array for column, array in zip(self.spec.values, block.values, strict=True)}
        documents = [values[name] for name in self.layout.documents]
        labels = [self._scaled(values[name]) for name in self.layout.labels]
        if self.layout.format == "pairs":
            rows = Rows(block.texts, [documents[0].to_pylist()], labels[0][:, None])
        elif self.layout.format == "lists":
            rows = _lists(block.texts, documents[0], labels[0])
        else:
            rows = self._tuples(block.texts, documents, labels)
        return ShardRows(rows, plan.first_row, block.rejects)

    def _scaled(self, labels: pa.Array) -> np.ndarray:
        """All labels of a column, float32, those of one list behind those of another."""
        return (_flat(labels)[1] / self.flags.label_scale).astype(np.float32)

    def _tuples(self, queries: list[str], documents: list[pa.Array], labels: list[np.ndarray]) -> Rows:
        count = len(documents)
        # One list of a row behind another, or columns side by side.
        scores = labels[0].reshape(-1, count) if len(labels) == 1 else np.stack(labels, axis=1) if labels else None
        texts = [column.to_pylist() for column in documents]
        if scores is not None and self.flags.loss == "margin-mse":
            return Rows(queries, texts, scores)
        if scores is not None:
            row, column = np.divmod(np.arange(len(queries) * count), count)
            label = scores.ravel()
        else:
            repeated = _like_before(pa.array(queries, pa.large_string())) & _like_before(documents[0])
            row, column = pairs_of_tuples(repeated, count - 1, self.flags.negatives_per_positive)
            label = (column == 0).astype(np.float32)
        places = list(zip(row.tolist(), column.tolist(), strict=True))
        return Rows([queries[r] for r, _ in places], [[texts[c][r] for r, c in places]], label[:, None])


def _lists(queries: list[str], documents: pa.Array, labels: np.ndarray) -> Rows:
    counts = _lengths(documents)
    first = [query for query, count in zip(queries, counts.tolist(), strict=True) for _ in range(count)]
    return Rows(first, [documents.flatten().to_pylist()], labels[:, None])


def _like_before(texts: pa.Array) -> np.ndarray:
    """Whether each text is the one before, bool `[n]`."""
    same = np.zeros(len(texts), bool)
    same[1:] = pc.equal(texts[1:], texts[:-1]).to_numpy(zero_copy_only=False)
    return same


def _flat(labels: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The row of each label, and the labels, float64, of numbers or of lists of them; nan where there is none."""
    if not pa.types.is_list(labels.type):
        return np.arange(len(labels)), labels.to_numpy(zero_copy_only=False).astype(np.float64)
    row = np.repeat(np.arange(len(labels)), _lengths(labels))
    return row, labels.flatten().to_numpy(zero_copy_only=False).astype(np.float64)


def _lengths(lists: pa.Array) -> np.ndarray:
    """Of each list, int64; 0 where there is none."""
    return pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
