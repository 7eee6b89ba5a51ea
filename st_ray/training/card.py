"""The model card, README.md: what a trained model is, how it is used, and how it came to be."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from st_ray.core.figure import metric_text
from st_ray.core.markdown import code, plain

_LIBRARY = "sentence-transformers"
_SCORE_PAIRS = """\
query = "How many people live in Berlin?"
scores = model.predict([(query, "3.5 million people live there."), (query, "Its museums are well known.")])"""
_EMBED_TEXTS = """embeddings = model.encode(["It is a sunny day.", "The sun is shining.", "He went to a museum."])"""


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Attributes:
        name: of the model; the last part of its folder's name.
        is_cross_encoder: it scores pairs; else it embeds texts.
        outputs: scores of a pair, or dimensions of an embedding.
        max_length: tokens an input is cut to; None where nothing bounds them.
        base_model: what it was trained from, as it was named.
        base_model_id: the id of that on the Hugging Face hub, where it is from there.
        loss: by the name that the job gives it.
        data: where the training data lay, and what else there is to say of them, by name.
        examples: how many there were.
        settings: of the training, by name.
        metrics: of the model as it is, by name, under the name of the data that they were measured on.
        lineage: digests and versions, by name.
    """

    name: str
    is_cross_encoder: bool
    outputs: int
    max_length: int | None
    base_model: str
    loss: str
    data: Mapping[str, Any]
    examples: int
    settings: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    base_model_id: str | None = None

    @property
    def task(self) -> str:
        """As hubs name it."""
        if not self.is_cross_encoder:
            return "sentence-similarity"
        return "text-ranking" if self.outputs == 1 else "text-classification"


def model_card(facts: CardFacts) -> str:
    """The text of README.md: Markdown behind YAML front matter as hubs read it."""
    sections = [
        ("Usage", _usage(facts)),
        ("Training data", _table({**facts.data, "examples": f"{facts.examples:,}"})),
        ("Training settings", _table({"loss": facts.loss, **facts.settings})),
        ("Metrics", _metrics(facts.metrics)),
        ("Lineage", _table(facts.lineage)),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections if text)
    return f"---\n{_front_matter(facts)}\n---\n\n# {plain(facts.name)}\n\n{_introduction(facts)}\n\n{body}\n"


def _front_matter(facts: CardFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(facts.task, "unknown", data, name, float(value), metric_name=name)
        for data, metrics in facts.metrics.items()
        for name, value in metrics.items()
        if math.isfinite(value)
    ]
    kind = "cross-encoder" if facts.is_cross_encoder else "feature-extraction"
    tags = [_LIBRARY, kind, "st-ray", f"dataset_size:{facts.examples}", f"loss:{facts.loss}"]
    card = ModelCardData(
        library_name=_LIBRARY,
        pipeline_tag=facts.task,
        tags=tags,
        base_model=facts.base_model_id,
        model_name=facts.name if results else None,
        eval_results=results or None,
    )
    text: str = card.to_yaml()
    return text


def _introduction(facts: CardFacts) -> str:
    if facts.is_cross_encoder:
        scores = "a score" if facts.outputs == 1 else f"{facts.outputs} scores"
        what = f"A cross-encoder: it gives {scores} to a pair of texts."
    else:
        what = (
            f"A bi-encoder: it maps a text to a vector of {facts.outputs} dimensions, and like texts to like vectors."
        )
    length = "" if facts.max_length is None else f" Inputs are cut to {facts.max_length} tokens."
    return f"{what}{length} It was trained from {code(facts.base_model)}."


def _usage(facts: CardFacts) -> str:
    kind = "CrossEncoder" if facts.is_cross_encoder else "BiEncoder"
    peer = "CrossEncoder" if facts.is_cross_encoder else "SentenceTransformer"
    call = _SCORE_PAIRS if facts.is_cross_encoder else _EMBED_TEXTS
    folder = json.dumps(facts.name, ensure_ascii=False)
    snippets = [
        f"```python\nfrom {package} import {name}\n\nmodel = {name}({folder})\n{call}\n```"
        for package, name in (("st_ray", kind), ("sentence_transformers", peer))
    ]
    return f"With st-ray:\n\n{snippets[0]}\n\nWith Sentence Transformers:\n\n{snippets[1]}"


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        f"| {plain(data)} | {plain(name)} | {metric_text(value)} |"
        for data, values in metrics.items()
        for name, value in values.items()
    ]
    return "\n".join(["| data | metric | value |", "|---|---|---:|", *rows]) if rows else ""


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {plain(name)} | {code(str(value))} |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else ""
