"""What evaluators that hold their data share: the call, the log, the CSV file."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from st_ray.evaluation.csv_log import append_row
from st_ray.evaluation.scores import check_lengths

logger = logging.getLogger(__name__)

Pairs = Sequence[Sequence[str]]
_Own = TypeVar("_Own", bound="PairEvaluator")


class Predictor(Protocol):
    """A cross-encoder: this project's, Sentence Transformers', or anything with such a method."""

    def predict(self, sentences: Any, **options: Any) -> Any:
        """Scores of pairs of texts, `[n]` or `[n, labels]`."""


class InputExample(Protocol):
    """Sentence Transformers' container of a pair and its label."""

    texts: Sequence[str]
    label: Any


class Evaluator(ABC):
    """What all evaluators share: a name, a CSV file, and the call.

    Attributes:
        csv_file: its name.
        csv_headers: its columns.
    """

    csv_file: str
    csv_headers: Sequence[str]

    def __init__(self, name: str, write_csv: bool) -> None:
        self.name = name
        self.write_csv = write_csv
        self.csv_file = type(self).__name__ + (f"_{name}" if name else "") + "_results.csv"

    def __call__(self, model: Predictor, output_path: str | None = None, epoch: int = -1, steps: int = -1) -> Any:
        """Evaluate `model`.

        Args:
            output_path: folder of the CSV file; None: none is written.
            epoch, steps: of a training, for the CSV file and the log.

        Returns:
            The class's figure.

        Raises:
            InputError: the scores are not what this evaluator can judge.
        """
        when = (
            "" if epoch == -1 else f" after epoch {epoch}" if steps == -1 else f" in epoch {epoch} after {steps} steps"
        )
        logger.info("%s: Evaluating the model on %s dataset%s:", type(self).__name__, self.name, when)
        figures = self._figures(model)
        for column, figure in zip(self.csv_headers[2:], figures, strict=True):
            logger.info("%-20s %.6f", f"{column}:", figure)
        if output_path is not None and self.write_csv:
            append_row(output_path, self.csv_file, self.csv_headers, [epoch, steps, *figures])
        return self._returned(figures)

    @abstractmethod
    def _figures(self, model: Predictor) -> Sequence[Any]:
        """The figures, in the order of the CSV file's columns."""

    def _returned(self, figures: Sequence[Any]) -> Any:
        return figures[0]


class PairEvaluator(Evaluator):
    """Evaluators of pairs of texts with a label each."""

    def __init__(self, sentence_pairs: Pairs, labels: Sequence[Any] | np.ndarray, name: str, write_csv: bool) -> None:
        super().__init__(name, write_csv)
        check_lengths(sentence_pairs, labels)
        self.sentence_pairs = sentence_pairs
        self._gold = np.asarray(labels)

    @classmethod
    def from_input_examples(cls: type[_Own], examples: Sequence[InputExample], **kwargs: Any) -> _Own:
        """From Sentence Transformers' InputExample, or anything with `texts` and `label`."""
        return cls([example.texts for example in examples], [example.label for example in examples], **kwargs)

    def _describe(self, number: int) -> str:
        return f"pair {number} ({', '.join(map(repr, self.sentence_pairs[number]))})"

    def _predict(self, model: Predictor, **options: Any) -> Any:
        options = {"convert_to_numpy": True, "show_progress_bar": False, **options}
        return model.predict(self.sentence_pairs, **options)
