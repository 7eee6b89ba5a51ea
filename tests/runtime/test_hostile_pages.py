"""Every page and card that a job writes, with a script in place of each text that data, files or flags can bring."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from st_ray.core.page import Section
from st_ray.evaluation.class_judges import SoftmaxAccuracy
from st_ray.evaluation.judge import Scored
from st_ray.evaluation.report import find_intervals
from st_ray.mining.filters import Dropped
from st_ray.mining.negative_statistics import Report, Statistics
from st_ray.runtime.compare_stores import page as drift
from st_ray.runtime.config import Names
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.evaluation import cross_encoder, similarity
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig, EvaluateSimilarityConfig
from st_ray.runtime.export import output as export
from st_ray.runtime.mining.bitext import report as bitext
from st_ray.runtime.mining.communities import page as communities
from st_ray.runtime.mining.communities.config import DetectCommunitiesConfig
from st_ray.runtime.mining.negatives import report as negatives
from st_ray.runtime.mining.negatives.distribution import Distributions
from st_ray.runtime.mining.paraphrases import page as paraphrases
from st_ray.runtime.mining.paraphrases.write import Survey
from st_ray.runtime.reembed import page as version
from st_ray.runtime.reembed.config import ReembedConfig
from st_ray.runtime.report import page as any_job
from st_ray.runtime.result import JobResult
from st_ray.runtime.training import output as training
from st_ray.runtime.training.config import TrainCrossEncoderConfig
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.training.history import Record
from tests.conftest import ROOT
from tests.core.test_page import Page

SCRIPT = "<script>alert(1)</script>"
RUN = [Section(SCRIPT, SCRIPT, facts={SCRIPT: SCRIPT}, code=SCRIPT)]
EVALUATED = {
    "cross_encoder": SCRIPT,
    "model": SCRIPT,
    "activation": SCRIPT,
    "backend": SCRIPT,
    "dtype": SCRIPT,
    "graph": SCRIPT,
    "data": [SCRIPT, SCRIPT],
    "pairs": 4,
    "counted": {SCRIPT: 1},
    "dropped": {SCRIPT: 1},
    "figures": {SCRIPT: 0.5},
    "intervals": {SCRIPT: (0.4, 0.6)},
}
EXPORTED: dict[str, Any] = {
    "model": SCRIPT,
    "graph": f"onnx/{SCRIPT}.onnx",
    "bytes": 1,
    "pairs": False,
    "calibration": 0,
    "agreement": {"texts": 1, "least_cosine": 1.0, "mean_cosine": 1.0},
    "thresholds": {"cosine": 1.0, "mean_cosine": 1.0},
}


def of_cross_encoder(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    judge, rows = SoftmaxAccuracy(), np.arange(4)
    state = judge.state(Scored(rows, rows % 2, np.eye(2, dtype=np.float32)[rows % 2]), 0)
    findings = find_intervals(judge, state, judge.figures(state, None), 0, 0)
    config = EvaluateCrossEncoderConfig(
        evaluator="softmax-accuracy",
        data=(SCRIPT,),
        cross_encoder=SCRIPT,
        text_columns=Names(("a", "b")),
        name=SCRIPT,
        output=SCRIPT,
    )
    return cross_encoder._page(config, EVALUATED, findings, RUN)


def of_similarity(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    config = EvaluateSimilarityConfig(
        data=(SCRIPT,),
        model=SCRIPT,
        text_columns=Names(("a", "b")),
        name=SCRIPT,
        output=SCRIPT,
    )
    return similarity._page(config, EVALUATED, {}, RUN)


def of_training(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    config = TrainCrossEncoderConfig(base_model=SCRIPT, data=(SCRIPT,), output=SCRIPT)
    about = {
        "name": SCRIPT,
        "data": [SCRIPT],
        "examples": 1,
        "steps": 2,
        "parameters": 1,
        "metrics": {SCRIPT: 0.5},
        "best": {"step": 1},
        "eval_examples": 1,
        "dropped": {SCRIPT: 1},
        "primary": SCRIPT,
    }
    history = [Record(step, 1.0, 0.5, 0.1, 1.0, 1.0, 10.0 * step, {SCRIPT: 0.5}) for step in (1, 2)]
    return training.training_page(config, about, history, RUN)


def of_export(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    export.write_report(folder, EXPORTED, b"", RUN)
    return (folder / export.TRAINING / export.REPORT).read_bytes()


def of_communities(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    store: Any = SimpleNamespace(
        folder=SCRIPT,
        rows=2,
        lineage={"keep_text": True},
        columns_at=lambda names, rows: pa.table({name: [SCRIPT] * len(rows) for name in names}),
    )
    config = DetectCommunitiesConfig(embeddings=SCRIPT, output=SCRIPT, threshold=0.5)
    names = ("communities", "rows_in_communities", "rows_with_enough_neighbours", "largest", "median", "smallest")
    about = dict.fromkeys(names, 2) | {"sizes": [{"from": 2, "to": 2, "communities": 1, "rows": 2}]}
    members = [{"rank": row + 1, "row": row, "score": 0.5} for row in range(2)]
    return communities.report(config, store, about, [{"size": 2, "members": members}], RUN)


def of_bitext(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    store: Any = SimpleNamespace(
        lineage={"keep_text": True},
        columns_at=lambda names, rows: pa.table({name: [SCRIPT] * len(rows) for name in names}),
    )
    shown = [("1.0000", *bitext._named(store, np.zeros(1, np.int64)), SCRIPT)]
    outline = bitext.Outline({1.0: 1.0}, np.array([0.0, 1.0]), np.ones(1), np.zeros(1), {SCRIPT: shown})
    counts = ("source_rows", "target_rows", "candidates_forward", "candidates_backward", "candidates_mutual", "pairs")
    about = dict.fromkeys(counts, 1) | {"source": SCRIPT, "target": SCRIPT, "scores": SCRIPT}
    return bitext.bitext_page(about, {"threshold": None, "retrieval": SCRIPT, "margin": "ratio"}, outline, RUN)


def of_paraphrases(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    row: dict[str, Any] = {"score": 0.5} | dict.fromkeys(("id_1", "id_2", "text_1", "text_2"), SCRIPT)
    patch.setattr(paraphrases, "read_pairs", lambda folder, entry: pa.Table.from_pylist([row]))
    about = {"embeddings": SCRIPT, "rows": 2, "index": SCRIPT, "factory": SCRIPT, "similarity": SCRIPT}
    counts = {"pairs": 1, "top_k": 1, "rows_in_no_pair": 0, "min_score": None, "recall": None}
    manifest = Manifest("pairs", {}, (ShardEntry("part", 1, 0, 1, "d"),), about | counts)
    return paraphrases.report(SCRIPT, manifest, Survey(2, 0.5, 0.5, np.ones(3, np.int64)), RUN)


def of_negatives(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    statistics = Statistics.of(np.ones(2, np.float32))
    report = Report(statistics, statistics, statistics, 1, (Dropped(SCRIPT, 0.5, 1),), 1, 0)
    scores = Distributions((statistics,) * 3, np.array([0.0, 1.0]), np.ones((2, 1), np.int64))
    counts = ("queries", "complete", "without", "pairs", "candidates", "range_max", "negatives")
    texts = {"model": SCRIPT, "cross_encoder": SCRIPT, "scores": SCRIPT, "texts": {"documents": 1}}
    lineage = {"num_negatives": 1, "sampling_strategy": SCRIPT}
    examples = pa.table({SCRIPT: [SCRIPT], "negatives": [[SCRIPT, SCRIPT]]})
    return negatives.negatives_page(dict.fromkeys(counts, 1) | texts, lineage, report, scores, examples, RUN)


def of_drift(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    counts = dict.fromkeys(("old_rows", "new_rows", "unchanged", "added", "gone", "texts"), 1)
    overlap = {"mean": 1.0, "top_k": 1, "nearest": 1.0, "queries": 1, "corpus": 2, "counts": [0, 1]}
    texts = {
        "old": SCRIPT,
        "new": SCRIPT,
        "unmoved": SCRIPT,
        "similarities": [SCRIPT],
        "furthest": [(SCRIPT, 0.5)],
        "differences": [f"{SCRIPT}: {SCRIPT} before"],
    }
    return drift.drift_page({**counts, **texts, "movement": None, "overlap": overlap, "switch": {"rows": 0}}, RUN)


def of_any_job(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    config = EncodeConfig(input=(SCRIPT,), model=SCRIPT, output=str(folder))
    done = JobResult(Manifest(SCRIPT, {SCRIPT: SCRIPT, "model": [SCRIPT]}, ()), str(folder))
    any_job.write_report(config, done, {SCRIPT: SCRIPT}, {SCRIPT: 1.0})
    return (folder / any_job.PAGE).read_bytes()


def of_version(folder: Path, patch: pytest.MonkeyPatch) -> bytes:
    config = ReembedConfig(input=(SCRIPT,), model=SCRIPT, output=SCRIPT)
    refresh = {"how": "rebuilt", "why": SCRIPT}
    about = {
        "model": SCRIPT,
        "differs": [SCRIPT],
        "index": {"factory": SCRIPT, "bytes": 1, "curve": None, "refresh": refresh},
        "drift": {"how": "not compared", "before": SCRIPT, "why": SCRIPT},
    }
    run = {"reused": 0, "encoded": 1, "gone": None, "left_out": 0, "resumed": True, "seconds": {SCRIPT: 1.0}}
    manifest = Manifest("version", {"reuse": None, SCRIPT: SCRIPT}, (), about, run)
    return version.version_page(config, SCRIPT, manifest, [("v-20261122T080906Z", manifest)])


PAGES: dict[Any, Callable[[Path, pytest.MonkeyPatch], bytes]] = {
    any_job: of_any_job,
    bitext: of_bitext,
    communities: of_communities,
    cross_encoder: of_cross_encoder,
    drift: of_drift,
    export: of_export,
    negatives: of_negatives,
    paraphrases: of_paraphrases,
    similarity: of_similarity,
    training: of_training,
    version: of_version,
}


@pytest.mark.parametrize("module", PAGES, ids=lambda module: module.__name__.removeprefix("st_ray.runtime."))
def test_no_script_of_the_data_is_run(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGES[module](tmp_path, monkeypatch)
    parsed = Page(page)
    assert b"<script" not in page
    assert {tag for tag, _, _ in parsed.elements}.isdisjoint({"script", "link", "iframe", "object"})
    links = {attributes["href"] for attributes in parsed.attributes("a")}
    assert links == ({"./embeddings/report.html", "./index/report.html"} if module is version else set())
    assert "".join("".join(text) for _, _, text in parsed.elements).count(SCRIPT) >= 2


def test_these_are_all_pages() -> None:
    sources = [path for folder in ("st_ray", "jobs") for path in (ROOT / folder).rglob("*.py")]
    makers = {path for path in sources if re.search(r"(?<!def )report_page\(", path.read_text())}
    assert makers == {Path(module.__file__) for module in PAGES}


def test_an_exports_card_holds_no_script(tmp_path: Path) -> None:
    for _ in range(2):  # the second time it replaces its section
        export.write_card(tmp_path, SCRIPT, EXPORTED)
    card = (tmp_path / "README.md").read_text()
    assert "<script" not in card
    assert card.startswith("# &lt;script>alert(1)&lt;/script>\n")
    assert card.count("&lt;script>") == 4  # title, heading, model and graph
