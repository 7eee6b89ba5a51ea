"""The job that mines hard negatives before Ray starts: flags, and what cannot be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs._cli import parse
from st_ray.core.errors import ConfigError, InputError, ModelError
from st_ray.mining.filters import Filters
from st_ray.mining.rules import Rules
from st_ray.runtime.mining.negatives.config import MineHardNegativesConfig
from st_ray.runtime.mining.negatives.job import mine_hard_negatives
from tests.conftest import ROOT
from tests.models.tiny_models import save_tiny_classifier, save_tiny_model
from tests.stubs import StubLoader


def config_of(*arguments: str) -> MineHardNegativesConfig:
    return parse(MineHardNegativesConfig, ["--pairs", "a", "b", "--model", "m", "--output", "o", *arguments])


def test_flags() -> None:
    assert config_of().rules(34) == Rules(3, 34)
    assert config_of().work_folder == "o/work"
    flags = ["--range-min", "2", "--max-score", "0.9", "--relative-margin", "0.05", "--num-negatives", "5"]
    config = config_of(*flags, "--sampling-strategy", "random", "--seed", "3", "--work", "w")
    assert config.rules(20) == Rules(5, 20, Filters(2, None, 0.05, 0.9, None), "random", 3)
    assert config.work_folder == "w"
    assert config_of("--output-format", "n-tuple", "--include-positives").rules(9).include_positives


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": ()}, "--pairs names no file"),
        ({"range_min": -1}, "--range-min -1 must be 0 or more"),
        ({"num_negatives": 0}, "--num-negatives 0 must be 1 or more"),
        ({"range_max": 2}, "--range-min 0 and --range-max 2 leave 2 candidates, and --num-negatives is 3"),
        ({"max_score": float("nan")}, "--max-score is not a number"),
        ({"seed": 1 << 64}, r"seed must be from 0 to 2\^64 - 1"),
        ({"include_positives": True}, "--include-positives: the format must be n-tuple"),
        ({"query_prompt": "a", "query_prompt_name": "b"}, "--query-prompt and --query-prompt-name were both given"),
        ({"corpus_columns": ("a",)}, "are for --corpus"),
        ({"anchor_column": "a", "positive_column": "a"}, "--anchor-column and --positive-column are both 'a'"),
        ({"work": "o/"}, "--work names the output itself"),
        ({"shard_rows": 0}, "--shard-rows 0 must be 1 or more"),
    ],
)
def test_flags_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MineHardNegativesConfig(**{"pairs": ("a",), "model": "m", "output": "o", **changes})


def test_columns_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("negative,label,x\na,b,c\n")
    settings: dict[str, Any] = {"pairs": (str(pairs),), "model": "m", "output": str(tmp_path / "out")}
    for changes, error, message in (
        ({}, ConfigError, "two columns named 'negative'"),
        ({"anchor_column": "x", "output_format": "labeled-pair", "positive_column": "label"}, ConfigError, "'label'"),
        ({"anchor_column": "y"}, InputError, "no column 'y'"),
        ({"anchor_column": "x", "corpus": (str(tmp_path / "none.jsonl"),)}, InputError, "no such file"),
        ({"pairs": (str(tmp_path / "none.jsonl"),)}, InputError, "no such file"),
    ):
        with pytest.raises(error, match=message):
            mine_hard_negatives(MineHardNegativesConfig(**{**settings, **changes}), StubLoader())
        assert list(tmp_path.iterdir()) == [pairs]


def test_models_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    model = str(save_tiny_model(tmp_path / "model"))
    labels = str(save_tiny_classifier(tmp_path / "labels", labels=3))
    for changes, error, message in (
        ({"model": str(tmp_path / "none")}, ModelError, "no model folder"),
        ({"query_prompt_name": "ask"}, ConfigError, "no prompt named 'ask'"),
        ({"cross_encoder": str(tmp_path / "none")}, ModelError, "none"),
        ({"cross_encoder": labels}, ModelError, "has 3 labels, and negatives are chosen by one score"),
    ):
        settings: dict[str, Any] = {"pairs": ("none",), "model": model, "output": str(tmp_path / "out"), **changes}
        with pytest.raises(error, match=message):
            mine_hard_negatives(MineHardNegativesConfig(**settings))
        assert not (tmp_path / "out").exists()


def test_the_command_line(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "jobs.mine_hard_negatives"]
    shown = subprocess.run([*run, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--relative-margin" in shown and "--cross-encoder-max-seq-length" in shown
    model = str(save_tiny_model(tmp_path / "model"))
    failed = subprocess.run(
        [*run, "--pairs", str(tmp_path / "none"), "--model", model, "--output", str(tmp_path / "o")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1 and "no such file" in failed.stderr
