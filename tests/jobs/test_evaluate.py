"""The flags of the evaluation jobs: what is refused before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs._cli import parse
from st_ray.core.errors import ConfigError
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig, EvaluateSimilarityConfig

PAIRS = ["--data", "x.csv", "--cross-encoder", "m", "--text-columns", "a,b"]


def cross_encoder(*flags: str, evaluator: str = "correlation") -> EvaluateCrossEncoderConfig:
    return parse(EvaluateCrossEncoderConfig, ["--evaluator", evaluator, "--output", "o", *flags])


def test_flags_become_a_config() -> None:
    config = cross_encoder(*PAIRS, "--label-column", "score", "--bootstrap", "0", "--name", "dev")
    assert (config.data, config.text_columns, config.label_column) == (("x.csv",), ("a", "b"), "score")
    assert config.judge.class_name == "CECorrelationEvaluator"
    assert cross_encoder("--scores", "s", "--at-k", "3", evaluator="reranking").at_k == 3
    assert parse(EvaluateSimilarityConfig, ["--model", "m", "--output", "o", *PAIRS[:2], *PAIRS[4:]]).seed == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--data and --cross-encoder are needed"),
        (("--data", "x.csv"), "--data and --cross-encoder are needed"),
        ((*PAIRS[:4], "--text-columns", "a"), "--text-columns must name the two columns"),
        ((*PAIRS, "--scores", "s"), "--scores replaces"),
        ((*PAIRS, "--bootstrap", "-1"), "--bootstrap -1 must be 0 or more"),
        ((*PAIRS, "--shard-rows", "0"), "--shard-rows 0 must be 1 or more"),
        ((*PAIRS, "--min-correlation", "2"), "--min-correlation 2"),
    ],
)
def test_flags_that_make_no_sense(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cross_encoder(*flags)


def test_which_columns_are_read() -> None:
    def kinds(evaluator: Any, labels: int | None) -> list[tuple[str, str, int | None]]:
        return [
            (v.name, v.kind, v.classes) for v in cross_encoder(*PAIRS, evaluator=evaluator).pair_spec(labels).values
        ]

    assert kinds("correlation", 1) == [("b", "text", None), ("label", "number", None)]
    assert kinds("binary-accuracy", 1) == [("b", "text", None), ("label", "class", 2)]
    assert kinds("f1", 3) == [("b", "text", None), ("label", "class", 3)]
    assert kinds("reranking", 1) == [("positive", "texts", None), ("negative", "texts", None)]


def test_an_unknown_evaluator_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cross_encoder(*PAIRS, evaluator="accuracy")
    assert "binary-accuracy" in capsys.readouterr().err
