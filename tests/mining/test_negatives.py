"""Hard negatives: the plain definition, whatever is asked for, cut and sampled."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray import mine_hard_negatives
from st_ray.mining import closest as search
from st_ray.mining import formats
from st_ray.mining.candidates import Candidates, group
from st_ray.mining.filters import Filters
from st_ray.mining.formats import FORMATS
from st_ray.mining.negatives import Rules, choose, rescore, retrieve
from st_ray.mining.sampling import STRATEGIES
from st_ray.scoring.similarity import similarity_of
from tests.mining.stub_models import StubCrossEncoder

TEXTS = "abcdefghij"
FILTERS = ("range_min", "absolute_margin", "relative_margin", "max_score", "min_score")
Row = dict[str, Any]


@pytest.fixture(autouse=True, params=[False, True], ids=["blocks", "tiny blocks"])
def blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """As they are, and so small that every border is crossed."""
    if not request.param:
        yield
        return
    with patch.multiple(search, _QUERIES=2, _PAIRS=3), patch.multiple(formats, _ROWS=2):
        yield


class IntegerModel:
    """Small whole numbers for every text, so that sums are exact and ties abound."""

    similarity_fn_name = "dot"

    def __init__(self, seed: int) -> None:
        rows = np.random.default_rng(seed).integers(-2, 3, (2, len(TEXTS), 2))
        self._rows = dict(zip("qd", rows.tolist(), strict=True))

    def vector(self, side: str, text: str) -> list[int]:
        return self._rows[side][TEXTS.index(text)]

    def encode(self, texts: Sequence[str], side: str = "q", **_: Any) -> torch.Tensor:
        return torch.tensor([self.vector(side, text) for text in texts], dtype=torch.float32)

    encode_query = encode

    def encode_document(self, texts: Sequence[str], **_: Any) -> torch.Tensor:
        return self.encode(texts, "d")

    def score(self, query: str, document: str) -> float:
        one, other = self.vector("q", query), self.vector("d", document)
        return float(sum(a * b for a, b in zip(one, other, strict=True)))


def eighths(query: str, document: str) -> float:
    return (ord(query) * 7 + ord(document) * 5) % 9 / 8 - 0.5


def reference(
    pairs: list[tuple[str, str]],
    corpus: list[str] | None,
    score: Any,
    cross_score: Any,
    options: dict[str, Any],
) -> tuple[dict[str, tuple[list[str], list[str]]], list[int]]:
    """By query its positives and the candidates that pass, best first; and how many each filter drops, one by one."""
    documents = list(dict.fromkeys((corpus or []) + [positive for _, positive in pairs]))
    final = cross_score or score
    found, counts = {}, [0] * 5
    for query in dict.fromkeys(anchor for anchor, _ in pairs):
        positives = list(dict.fromkeys(positive for anchor, positive in pairs if anchor == query))
        never = {*positives, query} & {*documents}
        closest = sorted(documents, key=lambda d, q=query: (-score(q, d), documents.index(d)))
        looked = closest[: options["range_max"] + len(never)]
        allowed = positives if options["include_positives"] else []
        candidates = [d for d in looked if d not in never or d in allowed]
        candidates.sort(key=lambda d, q=query: (-final(q, d), documents.index(d)))
        base = min(final(query, positive) for positive in positives)
        passed = []
        for rank, document in enumerate(candidates):
            value = final(query, document)
            reasons = [
                rank < options["range_min"],
                options["absolute_margin"] is not None and value + options["absolute_margin"] > base,
                options["relative_margin"] is not None and value > base - abs(base) * options["relative_margin"],
                options["max_score"] is not None and value > options["max_score"],
                options["min_score"] is not None and value < options["min_score"],
            ]
            if any(reasons):
                counts[reasons.index(True)] += 1
            else:
                passed.append(document)
        found[query] = positives, passed[: options["range_max"] - options["range_min"]]
    return found, counts


def rows_of(
    found: dict[str, tuple[list[str], list[str]]], score: Any, output_format: str, wanted: int, scores: bool
) -> list[Row]:
    rows: list[Row] = []
    for query, (positives, negatives) in found.items():
        numbers = {text: score(query, text) for text in (*positives, *negatives)}
        for positive in positives:
            texts = [positive, *negatives]
            values = {"scores": [numbers[text] for text in texts]}
            base = {"anchor": query, "positive": positive}
            if output_format == "triplet":
                for text in negatives:
                    rows.append({**base, "negative": text, "scores": [numbers[positive], numbers[text]]})
            elif output_format == "n-tuple" and len(negatives) == wanted:
                rows.append({**base, **{f"negative_{i}": text for i, text in enumerate(negatives, 1)}, **values})
            elif output_format == "labeled-list" and negatives:
                labels = {} if scores else {"labels": [1] + [0] * len(negatives)}
                rows.append({"anchor": query, "positive": texts, **labels, **values})
            elif output_format == "labeled-pair":
                rows.append({**base, **({"score": numbers[positive]} if scores else {"label": 1})})
        if output_format == "labeled-pair":
            for text in negatives:
                value = {"score": numbers[text]} if scores else {"label": 0}
                rows.append({"anchor": query, "positive": text, **value})
    return [{name: row[name] for name in row if scores or name != "scores"} for row in rows]


def dataset_of(pairs: Sequence[tuple[str, str]]) -> Dataset:
    anchors, positives = zip(*pairs, strict=True)
    return Dataset.from_dict({"anchor": list(anchors), "positive": list(positives)})


PAIRS = st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS)), min_size=1, max_size=14)
THRESHOLDS = {
    "absolute_margin": [0.0, 0.25, 1.0],
    "relative_margin": [0.0, 0.25, 1.0],
    "max_score": [-1.0, 0.0, 0.25, 1.0, 2.0],
    "min_score": [-3.0, -1.0, 0.0, 0.25],
}
# Few at a time, so that something is left.
LIMITS = st.lists(
    st.sampled_from([(name, value) for name, values in THRESHOLDS.items() for value in values]),
    max_size=3,
    unique_by=lambda limit: limit[0],
).map(lambda limits: dict.fromkeys(THRESHOLDS) | dict(limits))
ASKED = st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 8)).map(
    lambda three: {"range_min": three[0], "num_negatives": three[1], "range_max": sum(three)}
)


@settings(deadline=None, max_examples=150)
@given(
    pairs=PAIRS,
    corpus=st.none() | st.lists(st.sampled_from(TEXTS), max_size=12),
    seed=st.integers(0, 2**32 - 1),
    asked=ASKED,
    limits=LIMITS,
    crossed=st.booleans(),
    include_positives=st.booleans(),
    output_format=st.sampled_from(FORMATS),
    output_scores=st.booleans(),
    strategy=st.sampled_from(STRATEGIES),
    block=st.integers(1, 9),
    use_faiss=st.booleans(),
)
def test_equals_the_definition(
    pairs: list[tuple[str, str]],
    corpus: list[str] | None,
    seed: int,
    asked: dict[str, int],
    limits: dict[str, float | None],
    crossed: bool,
    include_positives: bool,
    output_format: str,
    output_scores: bool,
    strategy: str,
    block: int,
    use_faiss: bool,
) -> None:
    model, cross_encoder = IntegerModel(seed), StubCrossEncoder(eighths)
    output_format = "n-tuple" if include_positives else output_format
    rules = {**asked, **limits, "include_positives": include_positives}
    found = mine_hard_negatives(
        dataset_of(pairs),
        model,
        corpus=corpus,
        cross_encoder=cross_encoder if crossed else None,
        sampling_strategy=strategy,
        output_format=output_format,
        output_scores=output_scores,
        faiss_batch_size=block,
        use_faiss=use_faiss,
        verbose=False,
        seed=seed % 100,
        **rules,
    )
    if crossed:
        (asked_for,) = cross_encoder.calls
        assert len(asked_for) == len(set(asked_for))

    groups, candidates, positive_scores = scored(pairs, corpus, model, cross_encoder if crossed else None, rules)
    sampled = rules_of({**rules, "sampling": strategy, "seed": seed % 100})
    negatives, dropped = choose(groups, candidates, positive_scores, sampled)
    expected, counts = reference(pairs, corpus, model.score, eighths if crossed else None, rules)
    assert {part.name: part.count for part in dropped}.items() <= dict(zip(FILTERS, counts, strict=True)).items()
    assert sum(part.count for part in dropped) == sum(counts)

    wanted, documents = asked["num_negatives"], groups.documents.to_pylist()
    chosen = {}
    for place, (query, (positives, passed)) in enumerate(expected.items()):
        texts = [documents[document] for document in negatives.document[negatives.query == place]]
        assert texts == (passed[:wanted] if strategy == "top" else [text for text in passed if text in texts])
        assert len(texts) == min(wanted, len(passed))
        chosen[query] = positives, texts
    final = eighths if crossed else model.score
    assert found.to_list() == rows_of(chosen, final, output_format, wanted, output_scores)


def rules_of(options: dict[str, Any]) -> Rules:
    filters = {name: options[name] for name in FILTERS}
    return Rules(filters=Filters(**filters), **{name: options[name] for name in options.keys() - filters.keys()})


def scored(
    pairs: Sequence[tuple[str, str]], corpus: list[str] | None, model: Any, cross_encoder: Any, options: dict[str, Any]
) -> tuple[Any, Candidates, np.ndarray]:
    anchors, positives = (pa.array(list(side), pa.large_string()) for side in zip(*pairs, strict=True))
    groups = group(anchors, positives, None if corpus is None else pa.array(corpus, pa.large_string()))
    embeddings = model.encode_query(groups.queries.to_pylist()), model.encode_document(groups.documents.to_pylist())
    found = retrieve(groups, *embeddings, similarity_of(model.similarity_fn_name), rules_of(options))
    if cross_encoder is not None:
        found = rescore(groups, found[0], cross_encoder)
    return groups, *found


@settings(deadline=None, max_examples=60)
@given(
    pairs=PAIRS,
    seed=st.integers(0, 2**32 - 1),
    asked=ASKED,
    margin=st.none() | st.sampled_from([0.0, 0.25]),
    crossed=st.booleans(),
    strategy=st.sampled_from(STRATEGIES),
    share=st.integers(1, 4),
)
def test_queries_may_be_shared_out_in_any_way(
    pairs: list[tuple[str, str]],
    seed: int,
    asked: dict[str, int],
    margin: float | None,
    crossed: bool,
    strategy: str,
    share: int,
) -> None:
    """What is found for a query depends neither on the other queries nor on the order of the rows."""

    def mined(some: list[tuple[str, str]]) -> list[Row]:
        return mine_hard_negatives(
            dataset_of(some),
            IntegerModel(seed),
            corpus=list(TEXTS),
            cross_encoder=StubCrossEncoder(eighths) if crossed else None,
            absolute_margin=margin,
            sampling_strategy=strategy,
            seed=5,
            output_scores=True,
            verbose=False,
            **asked,
        ).to_list()

    def key(row: Row) -> str:
        return json.dumps(row)

    queries = sorted({anchor for anchor, _ in pairs}, reverse=True)
    parts = [
        mined([pair for pair in pairs if pair[0] in queries[first::share]]) for first in range(share)[: len(queries)]
    ]
    assert sorted(itertools.chain(*parts), key=key) == sorted(mined(pairs), key=key)
