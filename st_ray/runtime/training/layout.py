"""Which columns of the data are texts and which are labels: what the flags name, or what the columns' names say."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from st_ray.core.errors import ConfigError, InputError
from st_ray.store.readers.columns import LISTS_OF_NUMBERS, LISTS_OF_STRINGS, Columns, describe
from st_ray.training.loss_rules import LABEL_RULES

Format = Literal["pairs", "tuples", "lists"]
_NEED_SCORES = ("mse", "margin-mse")
_QUERIES, _POSITIVE = ("anchor", "query"), "positive"
_NEGATIVE = re.compile(r"negative(?:_(\d+))?")
# In JSON lines, an array may hold anything.
_STRINGS, _TEXT_LISTS, _NUMBER_LISTS = {"string"}, {LISTS_OF_STRINGS, "array"}, {LISTS_OF_NUMBERS, "array"}
_ID, _LABELS = "id", ("label", "labels", "score", "scores")


@dataclass(frozen=True, kw_only=True)
class ExampleFlags:
    """What a user says of labelled examples.

    Attributes:
        data: files, folders or globs.
        loss: that they are for.
        format: pairs: two texts and a label; tuples: a query, a positive and negatives; lists: a query, a list of
            documents and one of labels. None: found by the columns.
        text_columns: two of pairs and lists, three or more of tuples, in this order; empty: found by their names.
        label_columns: the column of labels, or of tuples a column of lists of scores, or one of scores for each
            document; empty: found by their names, where the loss needs any.
        columns: names of the columns of CSV and TSV files without a header line; empty: they have one.
        quotes: whether CSV and TSV fields may be quoted.
        label_scale: labels are divided by it.
        negatives_per_positive: of tuples without scores; see `pairs_of_tuples`.
        classes: of `ce`; None: as many as the labels say.
        shard_rows: rows of a shard; None: by their number.
        on_bad_row: fail, or leave it out and count it.
    """

    data: tuple[str, ...]
    loss: str
    format: Format | None = None
    text_columns: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    quotes: bool = True
    label_scale: float = 1.0
    negatives_per_positive: int | None = None
    classes: int | None = None
    shard_rows: int | None = None
    on_bad_row: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if self.loss not in LABEL_RULES:
            raise ConfigError(f"there is no --loss {self.loss}", f"use one of {', '.join(LABEL_RULES)}")
        if self.format is not None and self.format not in get_args(Format):
            raise ConfigError(f"there is no --format {self.format}", f"use one of {', '.join(get_args(Format))}")
        if not (math.isfinite(self.label_scale) and self.label_scale > 0):
            raise ConfigError(f"--label-scale {self.label_scale:g} must be above 0", "give the greatest label, say")
        if self.loss == "ce" and self.label_scale != 1:
            raise ConfigError("labels of --loss ce are classes, which no --label-scale divides", "leave it out")
        if self.loss != "ce" and self.classes is not None:
            raise ConfigError(f"--loss {self.loss} has no classes", "use --loss ce for classes")
        if self.negatives_per_positive is not None and self.negatives_per_positive < 1:
            raise ConfigError("--negatives-per-positive must be 1 or more", "leave it out to take all negatives")
        check_text_columns(self.text_columns)


def check_text_columns(names: tuple[str, ...]) -> None:
    """Raise ConfigError where one column alone is named."""
    if len(names) == 1:
        raise ConfigError(
            f"--text-columns names {names[0]!r} alone, an example has two texts or more",
            "name two columns such as question,answer; of tuples, query,positive,negative",
        )


@dataclass(frozen=True)
class Layout:
    """The columns that make an example.

    Attributes:
        query: column of the first text.
        documents: of pairs the column of the second text; of lists that of the documents, a list; of tuples those of
            the positive and of each negative.
        labels: of pairs and lists the column of labels; of tuples one of lists of scores, or one of scores for each
            document, or none: then labels are 1 for the positive and 0 for negatives. Of texts alone, none.
    """

    format: Format
    query: str
    documents: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def labels_are_lists(self) -> bool:
        """Whether the labels of a row are a list."""
        return self.format == "lists" or (self.format == "tuples" and len(self.labels) == 1)


def find_layout(columns: Columns, flags: ExampleFlags) -> Layout:
    """The columns to read, out of those that the first file has.

    What `mine_hard_negatives` writes is known by its columns: `negative` or `negative_1` and so on make tuples, of
    which the other two columns of texts are query and positive; `label` or `score` makes pairs of the two columns of
    texts; a column of lists of texts beside lists `labels` or `scores` makes lists. Three columns of texts or more
    beside lists `scores`, as `score_pairs` writes them, are tuples in this order. A column `id` holds no texts, unless
    a flag names it.

    Args:
        columns: (name, kind) of the columns.

    Raises:
        InputError: the columns are not found; what was found and what is expected is said.
        ConfigError: the flags do not go together.
    """
    finder = _Finder(columns, flags.data, flags.text_columns, flags.label_columns, flags.loss)
    layout = finder.layout(flags.format or finder.format())
    _check(layout, flags)
    return layout


def find_texts(columns: Columns, data: tuple[str, ...], text_columns: tuple[str, ...] = ()) -> Layout:
    """The same columns of texts, whether or not there are labels beside them; the layout has none.

    A column of lists of texts makes lists.

    Args:
        columns: (name, kind) of the columns.
        data: the files, for errors.
        text_columns: those that the user named, as of `ExampleFlags`.

    Raises:
        InputError: the columns are not found; what was found and what is expected is said.
        ConfigError: too few columns are named, or one twice.
    """
    check_text_columns(text_columns)
    unlabelled = [column for column in columns if column[0] not in _LABELS or column[0] in text_columns]
    finder = _Finder(unlabelled, data, text_columns)
    layout = finder.layout(finder.format())
    _check_distinct(layout)
    return layout


@dataclass(frozen=True)
class _Finder:
    """Looks among columns.

    Attributes:
        loss: that labels are for; None: none are looked for.
    """

    columns: Columns
    data: tuple[str, ...]
    text_columns: tuple[str, ...]
    label_columns: tuple[str, ...] = ()
    loss: str | None = None

    def format(self) -> Format:
        if self.text_columns:
            lists = dict(self.columns).get(self.text_columns[-1]) in _TEXT_LISTS
            return "tuples" if len(self.text_columns) > 2 else "lists" if lists else "pairs"
        if self._negatives():
            return "tuples"
        labels = self._label("labels", "scores", "label", "score", kinds=_NUMBER_LISTS)
        if (labels or self.loss is None) and self._of(_TEXT_LISTS, but=labels):
            return "lists"
        return "tuples" if self._scored_texts() else "pairs"

    def layout(self, kind: Format) -> Layout:
        return {"pairs": self.pairs, "tuples": self.tuples, "lists": self.lists}[kind]()

    def pairs(self) -> Layout:
        labels = self._only(self._label("label", "score"))
        if not labels and self.loss is not None:
            raise self._error(
                "pairs of texts need a column of labels, and there is neither 'label' nor 'score'",
                "name it with --label-column",
            )
        texts = self._texts(2) or self._of(_STRINGS, but=labels)
        if len(texts) != 2:
            beside = f" beside {labels[0]!r}" if labels else ""
            raise self._error(f"pairs have two columns of texts{beside}", "name the two with --text-columns a,b")
        return Layout("pairs", texts[0], (texts[1],), labels)

    def lists(self) -> Layout:
        labels = self._only(self._label("labels", "scores", "label", "score", kinds=_NUMBER_LISTS))
        texts = self._texts(2)
        if not texts:
            documents, strings = self._of(_TEXT_LISTS, but=labels), self._of(_STRINGS)
            queries = [name for name in strings if name in _QUERIES] or strings
            texts = (queries[0], documents[0]) if len(queries) == len(documents) == 1 else ()
        if not texts and self.loss is None:
            raise self._error(
                "lists are a column of texts and one of lists of texts",
                "name them with --text-columns query,documents, or the two columns of pairs",
            )
        if not texts or (not labels and self.loss is not None):
            raise self._error(
                "lists are a column of texts, one of lists of texts, and one of lists of numbers called 'labels' or "
                "'scores'",
                "name them with --text-columns query,documents and --label-column; use JSON lines or Parquet",
            )
        return Layout("lists", texts[0], (texts[1],), labels)

    def tuples(self) -> Layout:
        texts = self.text_columns
        if len(texts) == 2:
            raise ConfigError("tuples have three columns of texts or more", "name query,positive,negative")
        texts = texts or self._scored_texts()
        if not texts:
            negatives = self._negatives()
            rest = self._of(_STRINGS, but=(*negatives, *self.label_columns))
            positive = next((name for name in rest if name == _POSITIVE), None)
            queries = [name for name in rest if name != positive]
            queries = [name for name in queries if name in _QUERIES] or queries
            if positive is None:
                queries, positive = list(rest[:1]), rest[1] if len(rest) == 2 else None
            if not negatives or positive is None or len(queries) != 1:
                raise self._error(
                    "tuples are a query, a positive, and negatives called 'negative' or 'negative_1', 'negative_2', …",
                    "name their columns with --text-columns query,positive,negative",
                )
            texts = (queries[0], positive, *negatives)
        return Layout("tuples", texts[0], texts[1:], self._scores(len(texts) - 1))

    def _scores(self, documents: int) -> tuple[str, ...]:
        """Of tuples with so many documents; none where the loss needs none and none are named."""
        needed = self.loss in _NEED_SCORES
        labels = self._label("scores", "score") if needed else self.label_columns
        if needed and not labels:
            raise self._error(
                f"--loss {self.loss} needs scores of each tuple's texts, and there is neither 'scores' nor 'score'",
                "name a column of lists of them, or a column for each document, with --label-column",
            )
        if len(labels) not in (0, 1, documents):
            raise ConfigError(
                f"--label-column names {len(labels)} columns for {documents} documents beside each query",
                "name one column of lists of scores, or a column for each document",
            )
        return labels

    def _texts(self, count: int) -> tuple[str, ...]:
        """The user's; none if they are not named."""
        named = self.text_columns
        if len(named) not in (0, count):
            raise ConfigError(
                f"--text-columns names {len(named)} columns, pairs and lists have {count}", f"name {count} columns"
            )
        return named

    def _label(self, *usual: str, kinds: Collection[str] = ()) -> tuple[str, ...]:
        """The user's columns of labels, else the first of the usual ones, of these kinds if any are given."""
        if self.label_columns:
            return self.label_columns
        found = {} if self.loss is None else dict(self.columns)
        return tuple(name for name in usual if name in found and (not kinds or found[name] in kinds))[:1]

    def _only(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """They, of which there may be one."""
        if len(labels) > 1:
            raise ConfigError(f"--label-column names {len(labels)} columns, pairs and lists have one", "name one")
        return labels

    def _of(self, kinds: Collection[str], but: Collection[str] = ()) -> tuple[str, ...]:
        return tuple(name for name, kind in self.columns if kind in kinds and name not in (_ID, *but))

    def _negatives(self) -> list[str]:
        """Columns of negatives, by their number."""
        found = [(int(match[1] or 0), name) for name in self._of(_STRINGS) if (match := _NEGATIVE.fullmatch(name))]
        return [name for _, name in sorted(found)]

    def _scored_texts(self) -> tuple[str, ...]:
        """The columns of tuples whose names say nothing: three texts or more beside lists called 'scores'."""
        texts, by_name = self._of(_STRINGS), bool(self.label_columns or self._negatives())
        scored = self.loss is not None and dict(self.columns).get("scores") in _NUMBER_LISTS
        return texts if scored and not by_name and len(texts) > 2 else ()

    def _error(self, message: str, remedy: str) -> InputError:
        where = ", ".join(self.data[:3])
        return InputError(f"{where}: {message}; columns found: {describe(self.columns)}", remedy)


def _check_distinct(layout: Layout) -> None:
    """Raise ConfigError where a column has two uses."""
    named = (layout.query, *layout.documents, *layout.labels)
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ConfigError(f"column {twice[0]!r} is named for two uses", "name each column once")


def _check(layout: Layout, flags: ExampleFlags) -> None:
    """Raise ConfigError where a loss cannot use such data, or a flag does not go with it."""
    _check_distinct(layout)
    if flags.loss == "margin-mse" and layout.format != "tuples":
        raise ConfigError(
            f"--loss margin-mse compares the texts of tuples, the data are {layout.format}",
            "give tuples (query, positive, negative, scores), or use --loss mse",
        )
    if flags.loss == "ce" and layout.format == "tuples":
        raise ConfigError("--loss ce needs classes, and tuples have none", "give pairs with a class, or use --loss bce")
    if layout.labels:
        if flags.negatives_per_positive is not None:
            raise ConfigError(
                "--negatives-per-positive is for tuples whose labels are 1 and 0 by their place; these data have "
                f"labels in {layout.labels[0]!r}",
                "leave it out",
            )
    elif flags.label_scale != 1:
        raise ConfigError("--label-scale has no labels to divide: those of tuples are 1 and 0", "leave it out")
