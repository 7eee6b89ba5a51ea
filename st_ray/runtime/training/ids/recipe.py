"""Which examples rows of ids become: the format of the file, the shape that the loss wants, and how many negatives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from st_ray.core.errors import ConfigError
from st_ray.store.readers.spec import ValueColumn
from st_ray.training.loss_rules import label_rule

IdFormat = Literal["qrels", "id-triples", "teacher", "hard-negatives"]
MARGIN_MSE = "margin-mse"
_DRAWN = 4
"""Negatives for each positive that are drawn by default: Sentence Transformers' ratio for MS MARCO."""


@dataclass(frozen=True)
class Layout:
    """How a file names texts.

    Attributes:
        columns: of a CSV or TSV file without a header line, in order; empty: it is no such file.
        values: the columns that are read.
    """

    columns: tuple[str, ...]
    values: tuple[ValueColumn, ...]

    @property
    def says(self) -> str:
        """The layout in words."""
        if not self.columns:
            return "JSON lines with " + ", ".join(column.name for column in self.values)
        return f"TSV without a header line ({', '.join(self.columns)}), or a file with columns of these names"


def _ids(*names: str) -> tuple[ValueColumn, ...]:
    return tuple(ValueColumn(name, "id") for name in names)


LAYOUTS: Mapping[str, Layout] = {
    "qrels": Layout(
        ("query-id", "iteration", "corpus-id", "score"),
        (*_ids("query-id", "corpus-id"), ValueColumn("score", "number")),
    ),
    "id-triples": Layout(("query", "positive", "negative"), _ids("query", "positive", "negative")),
    "teacher": Layout(
        ("positive_score", "negative_score", "query", "positive", "negative"),
        (
            *_ids("query", "positive", "negative"),
            ValueColumn("positive_score", "number"),
            ValueColumn("negative_score", "number"),
        ),
    ),
    "hard-negatives": Layout((), (*_ids("qid"), ValueColumn("pos", "ids"), ValueColumn("neg", "id lists"))),
}


@dataclass(frozen=True)
class Recipe:
    """How rows become examples: see `id_recipe`.

    Attributes:
        loss: that they are for.
        label_scale: what labels that stand in the file are divided by.
        negatives: for each positive; None: what the format says.
        systems: whose negatives are drawn; none: everybody's.
        seed: of the draw.
    """

    format: IdFormat
    loss: str
    label_scale: float = 1.0
    negatives: int | None = None
    systems: tuple[str, ...] = ()
    seed: int = 0

    @property
    def layout(self) -> Layout:
        """Of the files."""
        return LAYOUTS[self.format]

    @property
    def inputs(self) -> int:
        """Inputs of an example, and its labels too."""
        return 2 if self.loss == MARGIN_MSE else 1

    @property
    def examples_of_a_row(self) -> int:
        """Examples that a row makes, about."""
        if self.format == "hard-negatives":
            return 1 + (self.negatives or 0)
        return 1 if self.inputs == 2 or self.format == "qrels" else 2

    @property
    def lineage(self) -> dict[str, Any]:
        """What identifies the examples beside the files."""
        return {
            "format": self.format,
            "loss": self.loss,
            "label_scale": self.label_scale,
            "negatives": self.negatives,
            "systems": list(self.systems),
            "seed": self.seed,
        }

    def shard_rows(self, examples: int) -> int:
        """Rows that make about so many examples; of triples so many that a shard does not cut a positive's rows."""
        rows, together = max(1, examples // self.examples_of_a_row), self.negatives or 1
        return -(-rows // together) * together if self.format == "id-triples" else rows

    def wrong_labels(self, labels: np.ndarray) -> tuple[np.ndarray, str]:
        """Of labels `[n, m]` which examples the loss cannot use, bool `[n]`, and what it takes, in words."""
        rule = label_rule(self.loss)
        takes = "whole numbers from 0 on" if rule.whole else f"{rule.low:g} to {rule.high:g}"
        return np.any(rule.broken(labels), axis=1), takes


def id_recipe(
    format: IdFormat,
    loss: str,
    *,
    label_scale: float = 1.0,
    negatives_per_positive: int | None = None,
    negative_systems: Sequence[str] = (),
    seed: int = 0,
) -> Recipe:
    """How files of this format become examples for this loss.

    - qrels (query, 0, document, grade): a pair a row; its label is the grade.
    - triples (query, positive, negative): pairs with labels 1 and 0, see `training.tuples.pairs_of_tuples`.
    - teacher (positive's score, negative's score, query, positive, negative): two pairs a row with these scores as
      labels; for margin-mse one example of two inputs.
    - hard-negatives (`{"qid": 1, "pos": [2], "neg": {"bm25": [3, 4], …}}`): a pair with label 1 for each positive, and
      for each of them `negatives_per_positive` (4) with label 0, drawn among all documents that the systems name.

    Args:
        label_scale: labels that stand in the file are divided by it.
        negative_systems: keys of `neg`; none: all of them.
        seed: of the draw.

    Raises:
        ConfigError: a value out of range, or one that means nothing to this format or loss.
    """
    if format not in LAYOUTS:
        raise ConfigError(f"there is no format {format!r} of ids", f"use one of {', '.join(LAYOUTS)}")
    drawn, labelled = format == "hard-negatives", format in ("qrels", "teacher")
    if not (math.isfinite(label_scale) and label_scale > 0):
        raise ConfigError(f"--label-scale {label_scale:g} must be above 0", "give the greatest label, say")
    if negatives_per_positive is not None and negatives_per_positive < 1:
        raise ConfigError("--negatives-per-positive must be 1 or more", "give such a number, or leave it out")
    if loss == MARGIN_MSE and format != "teacher":
        raise ConfigError(
            f"--loss {loss} needs a teacher's scores, and {format} have none",
            "name a teacher's file, or choose another --loss",
        )
    for flag, given, fits in (
        ("--label-scale", label_scale != 1, labelled),
        ("--negatives-per-positive", negatives_per_positive is not None, not labelled),
        ("--negative-systems", bool(negative_systems), drawn),
    ):
        if given and not fits:
            raise ConfigError(f"{flag} means nothing to data in the format {format}", "leave it out")
    return Recipe(
        format,
        loss,
        label_scale,
        negatives_per_positive or (_DRAWN if drawn else None),
        systems=tuple(sorted(set(negative_systems))),
        seed=seed if drawn else 0,
    )
