"""The evaluation job on a real Ray: the figures of the classes, whatever the shards; resumed, refused, looked into."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_ray import CrossEncoder
from st_ray.core.errors import ConfigError, InputError, ModelError, OutputError, ShardError
from st_ray.evaluation import evaluators
from st_ray.runtime.evaluation import crew
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig
from st_ray.runtime.evaluation.cross_encoder import evaluate_cross_encoder
from st_ray.runtime.evaluation.summary import evaluate_cross_encoder_summary
from st_ray.runtime.result import JobResult
from tests.models.tiny_models import save_tiny_classifier
from tests.ray.corpora import table_of
from tests.stubs import StubScorerLoader, stub_scores

pytestmark = pytest.mark.usefixtures("local_ray")

PAIRS = [(f"what of {number % 7}", f"text {number} " + "word " * (number % 5)) for number in range(90)]
GOLD = [number * 7 % 11 / 2 for number in range(90)]


class StubModel:
    """What the stub's scorer gives, as `predict`."""

    def __init__(self, labels: int = 1) -> None:
        self.labels = labels

    def predict(self, sentences: Any, **options: Any) -> np.ndarray:
        scores = np.stack([stub_scores(*pair, labels=self.labels) for pair in sentences])
        return scores[:, 0] if self.labels == 1 else scores


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"id": f"p{number}", "a": first, "b": second, "gold": gold, "class": number % 3, "same": int(gold > 2)}
        for number, ((first, second), gold) in enumerate(zip(PAIRS, GOLD, strict=True))
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    samples = [
        {
            "query": PAIRS[number][0],
            "positive": [second for _, second in PAIRS[number : number + number % 3]],
            "negative": [second for _, second in PAIRS[number + 20 : number + 20 + number % 4]],
        }
        for number in range(40)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return tmp_path


def config_of(folder: Path, evaluator: str, output: str = "out", **changes: Any) -> EvaluateCrossEncoderConfig:
    label = {"correlation": "gold", "f1": "class", "softmax-accuracy": "class"}.get(evaluator, "same")
    settings: dict[str, Any] = {
        "evaluator": evaluator,
        "data": (str(folder / ("samples.jsonl" if evaluator == "reranking" else "pairs.jsonl")),),
        "cross_encoder": "stub",
        "text_columns": ("a", "b"),
        "label_column": label,
        "output": str(folder / output),
        "actors": "1",
        "cpus_per_actor": 1.0,
        "shard_rows": 16,
        "bootstrap": 20,
    }
    return EvaluateCrossEncoderConfig(**{**settings, **changes})


def evaluated(folder: Path, evaluator: str, output: str = "out", labels: int = 1, **changes: Any) -> JobResult:
    return evaluate_cross_encoder(config_of(folder, evaluator, output, **changes), StubScorerLoader(labels=labels))


def of_class(evaluator: str, folder: Path, tmp: Path) -> tuple[float, str]:
    """What the class returns, and its CSV file."""
    if evaluator == "reranking":
        samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        measure: Any = evaluators.CERerankingEvaluator(samples, name="x")
    else:
        name, labels = {
            "binary-accuracy": ("CEBinaryAccuracyEvaluator", [int(gold > 2) for gold in GOLD]),
            "binary-classification": ("CEBinaryClassificationEvaluator", [int(gold > 2) for gold in GOLD]),
            "correlation": ("CECorrelationEvaluator", GOLD),
            "f1": ("CEF1Evaluator", [number % 3 for number in range(90)]),
            "softmax-accuracy": ("CESoftmaxAccuracyEvaluator", [number % 3 for number in range(90)]),
        }[evaluator]
        measure = getattr(evaluators, name)(PAIRS, labels, name="x")
    value = measure(StubModel(3 if evaluator in ("f1", "softmax-accuracy") else 1), str(tmp))
    return value, (tmp / measure.csv_file).read_text()


@pytest.mark.parametrize(
    "evaluator",
    [
        "binary-classification",
        "reranking",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("binary-accuracy", "correlation", "f1", "softmax-accuracy")
        ),
    ],
)
def test_the_figures_and_the_file_of_the_class(
    evaluator: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_ALONE", 0)  # evaluators on Ray, also for so few
    labels = 3 if evaluator in ("f1", "softmax-accuracy") else 1
    result = evaluated(folder, evaluator, labels=labels, name="x")
    value, written = of_class(evaluator, folder, tmp_path / "class")
    judge = config_of(folder, evaluator).judge
    assert result.manifest.about["figures"][judge.primary] == value
    ours = list(csv.reader((folder / "out" / result.manifest.about["csv"]).open(newline="")))
    theirs = list(csv.reader(written.splitlines()))
    assert (ours[0], ours[1][:2]) == (theirs[0], ["-1", "-1"])
    assert list(map(float, ours[1])) == list(map(float, theirs[1]))
    page = (folder / "out" / "report.html").read_text()
    assert judge.class_name in page and "<svg" in page
    assert set(result.manifest.about["intervals"]) >= set(result.manifest.about["figures"])
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["figures"] == result.manifest.about["figures"]
    assert f"{value:.6f}" in evaluate_cross_encoder_summary(result)


@pytest.mark.slow
def test_scores_serve_other_metrics_and_other_shards_give_the_same(folder: Path) -> None:
    first = evaluated(folder, "binary-classification", id_column="id", data=(str(folder / "pairs.csv"),))
    assert len(table_of(folder / "out" / "scores")) == 90
    assert table_of(folder / "out" / "scores")["id"].to_pylist() == [f"p{number}" for number in range(90)]
    scores = str(folder / "out" / "scores")
    other = EvaluateCrossEncoderConfig(evaluator="binary-accuracy", scores=scores, output=str(folder / "again"))
    again = evaluate_cross_encoder(other)
    direct = evaluated(folder, "binary-accuracy", "direct", shard_rows=90, actors="2")
    for part in ("figures", "csv", "pairs"):
        assert again.manifest.about[part] == direct.manifest.about[part]
    # Nothing is done twice, and other settings are refused.
    assert evaluate_cross_encoder(other).already_complete
    same = {"id_column": "id", "data": (str(folder / "pairs.csv"),)}
    assert evaluated(folder, "binary-classification", **same).already_complete
    with pytest.raises(OutputError, match="evaluator: 'binary-classification' before, 'correlation' now"):
        evaluated(folder, "correlation", **same)
    with pytest.raises(ConfigError, match="has 1 score a pair; --evaluator f1 needs one score for each class"):
        evaluate_cross_encoder(EvaluateCrossEncoderConfig(evaluator="f1", scores=scores, output=str(folder / "f1")))
    with pytest.raises(ConfigError, match="--scores lies in --output"):
        inside = str(folder / "out")
        evaluate_cross_encoder(EvaluateCrossEncoderConfig(evaluator="correlation", scores=scores, output=inside))
    with pytest.raises(ConfigError, match="single pairs"):
        wrong = EvaluateCrossEncoderConfig(evaluator="reranking", scores=scores, output=str(folder / "r"))
        evaluate_cross_encoder(wrong)
    assert first.manifest.about["intervals"]["f1"][0] <= first.manifest.about["figures"]["f1"]


def test_a_killed_actor_and_a_run_cut_short(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"part-00002.*rows 33 to 48.*score of row 41 is not finite"):
        evaluate_cross_encoder(config_of(folder, "correlation"), StubScorerLoader(nan=PAIRS[40][1]))
    (tmp_path / "pids").mkdir()
    hold = tmp_path / "hold"
    hold.touch()
    loader = StubScorerLoader(pids=str(tmp_path / "pids"), hold=str(hold))

    def kill() -> None:
        while not (pids := list((tmp_path / "pids").iterdir())):
            time.sleep(0.02)
        os.kill(int(pids[0].name), signal.SIGKILL)
        hold.unlink()

    threading.Thread(target=kill).start()
    result = evaluate_cross_encoder(config_of(folder, "correlation"), loader)
    assert result.manifest.run["scoring"]["shards_done_before"] == 5
    whole = evaluated(folder, "correlation", "whole", shard_rows=90)
    assert result.manifest.about["figures"] == whole.manifest.about["figures"]
    assert result.manifest.about["intervals"] == whole.manifest.about["intervals"]


def test_bad_rows_are_named_or_left_out_and_leave_nothing_behind(folder: Path) -> None:
    lines = (folder / "pairs.jsonl").read_text().splitlines()
    lines[7] = json.dumps({"id": "p7", "a": "x", "b": "y", "gold": "high", "class": 9, "same": 1})
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"pairs\.jsonl, row 8: column 'gold'.*not a number"):
        evaluated(folder, "correlation")
    assert not (folder / "out" / "run.json").exists()
    result = evaluated(folder, "correlation", on_bad_row="skip")
    assert (result.manifest.about["pairs"], sum(result.manifest.about["dropped"].values())) == (89, 1)
    assert re.search("rows left out +1, in .*: 1 column 'gold'", evaluate_cross_encoder_summary(result))
    with pytest.raises(InputError, match="no column 'missing'"):
        evaluated(folder, "correlation", "other", label_column="missing")


def test_a_real_model_and_one_that_does_not_fit(folder: Path) -> None:
    one, three = (save_tiny_classifier(folder / name, "bert", labels) for name, labels in (("one", 1), ("three", 3)))
    model = {"cross_encoder": str(one), "backend": "torch", "dtype": "float32"}
    evaluate_cross_encoder(config_of(folder, "correlation", **model))
    found = table_of(folder / "out" / "scores")["score"].to_numpy()
    np.testing.assert_allclose(found, CrossEncoder(str(one)).predict(PAIRS), atol=1e-5)
    with pytest.raises(ConfigError, match=r"f1 needs a model with two labels or more; .* has 1"):
        evaluate_cross_encoder(config_of(folder, "f1", "f1", **model))
    several = {**model, "cross_encoder": str(three)}
    with pytest.raises(InputError, match="column 'class' holds 9, not one of 0 to 2"):
        (folder / "bad.jsonl").write_text(json.dumps({"a": "x", "b": "y", "class": 9}) + "\n")
        evaluate_cross_encoder(config_of(folder, "f1", "f1", data=(str(folder / "bad.jsonl"),), **several))
    with pytest.raises(ModelError, match="no model folder"):
        evaluate_cross_encoder(config_of(folder, "f1", "f2", cross_encoder=str(folder / "none")))
