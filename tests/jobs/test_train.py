"""The training jobs before Ray starts: flags, bases and data that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from jobs._cli import parse
from st_ray.core.errors import ConfigError, InputError, ModelError, StRayError
from st_ray.runtime.training.base import base_model
from st_ray.runtime.training.config import TrainBiEncoderConfig, TrainCrossEncoderConfig
from st_ray.runtime.training.data import train_data
from st_ray.runtime.training.job import train_model
from tests.models.tiny_models import save_tiny_classifier, save_tiny_model

NEEDED: dict[str, Any] = {"base_model": "m", "data": ("a",), "output": "o"}


def test_flags() -> None:
    flags = ["--base-model", "m", "--data", "a", "b", "--output", "o"]
    pairs = parse(TrainCrossEncoderConfig, [*flags, "--loss", "ce", "--num-labels", "3", "--keep-layers", "0,2"])
    assert (pairs.loss, pairs.num_labels, pairs.layers, pairs.data) == ("ce", 3, (0, 2), ("a", "b"))
    texts = parse(TrainBiEncoderConfig, [*flags, "--text-columns", "x,y", "--label-column", "z", "--label-scale", "5"])
    assert (texts.loss, texts.text_columns, texts.label_column, texts.label_scale) == ("cosine", ("x", "y"), ("z",), 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "--data names no file"),
        ({"epochs": 0}, "--epochs 0 must be above 0"),
        ({"lr": 5.0}, "--lr 5 must be above 0 and below 1"),
        ({"warmup_ratio": 1.0}, "--warmup-ratio 1 must be from 0 to below 1"),
        ({"weight_decay": -1.0}, "--weight-decay -1 must be 0 or more"),
        ({"label_scale": 0.0}, "--label-scale 0 must be above 0"),
        ({"batch_size": 0}, "--batch-size 0 must be 1 or more"),
        ({"workers": 4, "batch_size": 2}, "leaves some of --workers 4 without an example"),
        ({"keep_layers": ("a",)}, "--keep-layers a must be numbers"),
        ({"num_labels": 3}, "--loss bce trains one logit, and --num-labels is 3"),
        ({"data_format": "teacher"}, "--data-format teacher needs --queries and --collection"),
        ({"queries": ("q",), "collection": ("c",)}, "--queries and --collection are for texts by id"),
    ],
)
def test_flags_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainCrossEncoderConfig(**{**NEEDED, **changes})


def test_a_bi_encoder_is_not_measured_as_a_cross_encoder() -> None:
    with pytest.raises(ConfigError, match="--evaluator f1 measures cross-encoders"):
        TrainBiEncoderConfig(**NEEDED, evaluator="f1")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.csv"
    file.write_text("query,document,label\nthe cat,a cat sat,1\nthe dog,a cat ran,0\n")
    return file


@pytest.mark.parametrize(
    ("labels", "changes", "kind", "message"),
    [
        (1, {"loss": "ce"}, ConfigError, "--loss ce tells classes apart, and the head of .* has one logit"),
        (3, {}, ConfigError, "--loss bce trains one logit, and the head of .* has 3"),
        (1, {"keep_layers": ("9",)}, ConfigError, "layers"),
        (1, {"text_columns": ("query", "passage")}, InputError, "passage"),
        (1, {"data": ("nothing.csv",)}, InputError, "nothing.csv"),
        (1, {"base_model": "nothing/at/all"}, ModelError, "nothing/at/all"),
    ],
)
def test_mistakes_that_show_before_anything_is_written(
    tmp_path: Path, pairs: Path, labels: int, changes: dict[str, Any], kind: type[StRayError], message: str
) -> None:
    base = save_tiny_classifier(tmp_path / "base", labels=labels)
    settings = {"base_model": str(base), "data": (str(pairs),), "output": str(tmp_path / "out"), **changes}
    with pytest.raises(kind, match=message):
        train_model(TrainCrossEncoderConfig(**settings))
    assert not (tmp_path / "out").exists()


def test_column_names_may_be_those_of_the_evaluation_data(tmp_path: Path, pairs: Path) -> None:
    pq.write_table(csv.read_csv(pairs), tmp_path / "pairs.parquet")
    (tmp_path / "dev.csv").write_text("the cat,a cat sat,1\n")
    settings = {"base_model": str(save_tiny_classifier(tmp_path / "base")), "output": "o"}
    columns = ("query", "document", "label")
    files = [str(tmp_path / name) for name in ("pairs.parquet", "dev.csv")]
    config = TrainCrossEncoderConfig(**settings, data=(files[0],), eval_data=(files[1],), columns=columns)
    data = train_data(config, base_model(config), str(tmp_path / "out"))
    assert data.evaluation is not None and data.evaluation.spec.columns == columns
    config = replace(config, eval_data=(files[0],))
    with pytest.raises(InputError, match="no input is CSV or TSV"):
        train_data(config, base_model(config), str(tmp_path / "out"))


def test_a_bi_encoder_needs_a_transformer(tmp_path: Path, pairs: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    (base / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        train_model(TrainBiEncoderConfig(base_model=str(base), data=(str(pairs),), output=str(tmp_path / "out")))
