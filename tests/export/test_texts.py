"""Texts to calibrate with and to compare on: a seeded sample from all over the files, and never one for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from st_ray.runtime.export import texts as module
from st_ray.runtime.export.config import ExportModelConfig
from st_ray.runtime.export.job import _texts
from st_ray.runtime.export.texts import sampled_pairs, sampled_texts

ROWS = 4000


@pytest.fixture
def config(tmp_path: Path) -> ExportModelConfig:
    """Of a corpus sorted by length, whose texts begin with their row's number."""
    rows = ({"text": f"{row} " + "word " * (row // 100), "other": str(row)} for row in range(ROWS))
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return config_of(tmp_path / "texts.jsonl")


def config_of(source: Path, **changes: Any) -> ExportModelConfig:
    settings = {"quantize": "static", "calibration": (str(source),), "text_columns": ("text",)}
    settings |= {"calibration_rows": 60, "check_rows": 40}
    return ExportModelConfig(model="m", output="o", backend="openvino", **{**settings, **changes})


def rows_of(found: list[str]) -> set[int]:
    return {int(text.split()[0]) for text in found}


def test_both_come_from_all_over_the_corpus(config: ExportModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def sample_texts(*arguments: Any) -> list[str]:
        found = sampled(*arguments)
        read.append(len(found))
        return found

    sampled = module.sample_texts
    monkeypatch.setattr(module, "sample_texts", sample_texts)
    calibration, check = _texts(config, pairs=False)
    assert (len(rows_of(calibration)), len(rows_of(check))) == (60, 40)
    assert not rows_of(calibration) & rows_of(check)
    for found in (calibration, check):
        quarters = [4 * row // ROWS for row in rows_of(found)]
        assert min(quarters.count(quarter) for quarter in range(4)) > len(quarters) // 10
    assert read == [400]  # and no more of them is held in memory
    assert _texts(config, pairs=False) == (calibration, check)


def test_the_seed_chooses(config: ExportModelConfig) -> None:
    files = config.calibration
    one, other = (sampled_texts(config_of(Path(files[0]), seed=seed), files, 50) for seed in (1, 2))
    assert len(rows_of(one) & rows_of(other)) < 10


def test_few_texts_are_all_taken_and_none_twice(tmp_path: Path) -> None:
    source = tmp_path / "few.jsonl"
    source.write_text("".join(json.dumps({"text": f"{row % 70} x"}) + "\n" for row in range(140)))
    calibration, check = _texts(config_of(source), pairs=False)
    assert (len(calibration), len(check)) == (60, 10)
    assert rows_of(calibration) | rows_of(check) == set(range(70))


def test_pairs_stay_together(config: ExportModelConfig) -> None:
    columns = config_of(Path(config.calibration[0]), text_columns=("text", "other"))
    pairs = sampled_pairs(columns, columns.calibration, 50)
    assert len(set(pairs)) == 50
    assert all(first.split()[0] == second for first, second in pairs)
