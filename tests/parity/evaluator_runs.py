"""How a case is played by any evaluator class, so that every peer and st-ray are asked in the same words."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from tests.parity.evaluator_cases import Case, Pair

Outcome = dict[str, Any]


class KnownScores:
    """A model that knows the scores of its pairs by heart, in whatever order and portions it is asked.

    Attributes:
        num_labels: scores of a pair.
        options: how it was last asked.
        model_card_data: for peers that write down there what they measured.
    """

    def __init__(self, pairs: Sequence[Pair], scores: np.ndarray) -> None:
        self._row = {pair: row for row, pair in enumerate(pairs)}
        self._scores = scores
        self.num_labels = 1 if scores.ndim == 1 else scores.shape[1]
        self.options: dict[str, Any] = {}
        self.model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *_: None)

    def predict(self, pairs: Sequence[Sequence[str]], **options: Any) -> np.ndarray:
        """Scores of the pairs, in the dtype they have in the case."""
        self.options = options
        return self._scores[np.array([self._row[first, second] for first, second in pairs], int)]


def build(evaluator_class: Any, case: Case) -> Any:
    """The case's evaluator."""
    if not case.from_examples:
        return evaluator_class(**case.arguments)
    arguments = dict(case.arguments)
    gold = arguments.pop("scores" if "scores" in arguments else "labels")
    rows = zip(arguments.pop("sentence_pairs"), gold, strict=True)
    examples = [SimpleNamespace(texts=texts, label=label) for texts, label in rows]
    return evaluator_class.from_input_examples(examples, **arguments)


def play(evaluator_class: Any, case: Case, folder: Path) -> Outcome:
    """Call the case's evaluator.

    Returns:
        `values`: what each call returned; `files`: what stands in the folder afterwards, text by name;
        `primary_metric`, if the evaluator has one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = build(evaluator_class, case)
        values = [
            evaluator(KnownScores(case.pairs, call.scores), str(folder), call.epoch, call.steps) for call in case.calls
        ]
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    outcome = {"values": values, "files": {file.name: file.read_bytes().decode() for file in files}}
    return outcome | {name: value for name, value in vars(evaluator).items() if name == "primary_metric"}


def play_peer(evaluator_class: Any, case: Case, folder: Path) -> Outcome:
    """The same of a peer's class; `raises`, the exception's name, if it raises one."""
    folder.mkdir()
    try:
        with stable_order():
            return play(evaluator_class, case, folder)
    except Exception as error:
        return {"raises": type(error).__name__}


@contextmanager
def stable_order() -> Iterator[None]:
    """Let NumPy keep equal scores in their order.

    Peers rank with NumPy's default sort, which orders equals as the processor's instructions have it: with AVX2 or
    AVX-512 even among five documents, without them from 17 on. So under ties their mean reciprocal rank is one
    machine's only, and what the tests hold to is the figure of a stable sort. Of up to 16 documents this is the peers'
    own wherever NPY_DISABLE_CPU_FEATURES keeps those instructions out.
    """
    with mock.patch.object(np, "argsort", partial(np.argsort, kind="stable")):
        yield


def parameters_of(function: Any) -> list[list[str]]:
    """Name, kind and default of each parameter that has a name of its own."""
    return [
        [parameter.name, parameter.kind.name, repr(parameter.default)]
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
