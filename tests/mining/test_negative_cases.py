"""Hard negatives, case by case: what the peers get wrong, figures, and what cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from st_ray import mine_hard_negatives
from st_ray.mining.candidates import Candidates
from st_ray.mining.filters import Filters, passing
from st_ray.mining.formats import FORMATS
from st_ray.mining.negative_statistics import Statistics
from st_ray.mining.sampling import random
from tests.mining.stub_models import StubCrossEncoder, StubModel

Row = dict[str, Any]


def dataset_of(pairs: Sequence[tuple[str, str]]) -> Dataset:
    anchors, positives = zip(*pairs, strict=True)
    return Dataset.from_dict({"anchor": list(anchors), "positive": list(positives)})


def test_random_samples_are_fair() -> None:
    query, document = np.repeat(np.arange(2), 10), np.tile(np.arange(10), 2)
    candidates = Candidates(query, document, np.zeros(20, np.float32))
    codes = np.random.default_rng(0).integers(0, 2**63, (2, 20)).astype(np.uint64)
    codes[0] = codes[0, query]
    taken = np.zeros((2, 10), int)
    together = 0
    for seed in range(4000):
        found = random(candidates, 3, seed, codes[0], codes[1, document])
        np.add.at(taken, (found.query, found.document), 1)
        together += np.array_equal(found.document[:3], found.document[3:])
    expected, spread = 4000 * 0.3, np.sqrt(4000 * 0.3 * 0.7)
    assert np.abs(taken - expected).max() < 4.5 * spread
    assert together < 4000 / 120 * 2  # two queries draw each for itself: one in 120 draws is the same


def mine(pairs: Sequence[tuple[str, str]], model: Any, **options: Any) -> list[Row]:
    return mine_hard_negatives(dataset_of(pairs), model, **{"verbose": False, **options}).to_list()


class Table:
    """A model whose similarity is `score` alone: queries and documents are one-hot, or rows of the table."""

    similarity_fn_name = "dot"

    def __init__(self, scores: dict[str, dict[str, float]]) -> None:
        self._queries = list(scores)
        self._scores = scores

    def encode_query(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        return np.array([[text == query for query in self._queries] for text in texts], np.float32)

    def encode_document(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        return np.array([[self._scores[query].get(text, 0) for query in self._queries] for text in texts], np.float32)

    encode = encode_query


def test_the_margin_is_below_the_least_positive_of_the_query_itself() -> None:
    """3.4.1 takes another query's where the numbers of positives differ."""
    scores = {"a": {"p": 0.9, "r": 0.4, "x": 0.5, "y": 0.3}, "b": {"q": 0.8, "x": 0.7, "y": 0.9, "r": 0.1}}
    found = mine(
        [("a", "p"), ("a", "r"), ("b", "q")], Table(scores), corpus=["x", "y"], absolute_margin=0.05, num_negatives=1
    )
    assert [(row["anchor"], row["positive"], row["negative"]) for row in found] == [
        ("a", "p", "y"),
        ("a", "r", "y"),
        ("b", "q", "x"),
    ]


def test_a_negative_positive_score_still_lowers_the_bound() -> None:
    scores = {"a": {"p": -0.5, "x": -0.52, "y": -0.6}}
    found = mine([("a", "p")], Table(scores), corpus=["x", "y"], relative_margin=0.1)
    assert [row["negative"] for row in found] == ["y"]


def test_rows_come_in_the_order_of_the_data() -> None:
    """3.4.1's depend on the hash seed."""
    pairs = [(f"q{i}", f"p{i}") for i in (5, 3, 9, 1)] + [("q3", "p0")]
    found = mine(pairs, StubModel(), output_format="labeled-pair", num_negatives=1)
    assert [(row["anchor"], row["positive"]) for row in found if row["label"]] == [
        pairs[0],
        pairs[1],
        pairs[4],
        pairs[2],
        pairs[3],
    ]


def test_a_cross_encoder_with_several_positives() -> None:
    """3.4.1 crashes."""
    cross = {"p": 0.2, "r": 0.9, "x": 0.8, "y": 0.1}
    found = mine(
        [("a", "p"), ("a", "r")],
        Table({"a": {"x": 0.9, "y": 0.1}}),
        corpus=["x", "y"],
        cross_encoder=StubCrossEncoder(lambda _, text: cross[text]),
        absolute_margin=0.0,
        output_scores=True,
    )
    assert [(row["positive"], row["negative"]) for row in found] == [("p", "y"), ("r", "y")]
    np.testing.assert_allclose([row["scores"] for row in found], [[0.2, 0.1], [0.9, 0.1]])


@pytest.mark.parametrize("use_faiss", [False, True])
def test_a_corpus_smaller_than_what_is_asked_for(use_faiss: bool) -> None:
    """3.4.1 with FAISS returns the query's own positive in the empty places."""
    found = mine([("a", "p"), ("b", "q")], StubModel(), range_max=100, num_negatives=50, use_faiss=use_faiss)
    assert [(row["anchor"], row["negative"]) for row in found] == [("a", "q"), ("b", "p")]
    assert mine([("a", "p"), ("b", "q")], StubModel(), output_format="n-tuple") == []


def test_equal_rows_count_once() -> None:
    """3.4.1 doubles them."""
    pairs = [("a1", "p1"), ("b2", "p2"), ("c3", "p3")]
    for output_format in FORMATS:
        options = {"output_format": output_format, "num_negatives": 1, "range_max": 2}
        assert mine(pairs * 3, StubModel(), **options) == mine(pairs, StubModel(), **options)


def test_a_cross_encoder_counts_without_any_threshold() -> None:
    """6.2 does not call it."""
    cross_encoder = StubCrossEncoder()
    pairs = [(f"q{i}", f"p{i}") for i in range(30)]
    found = mine(pairs, StubModel(), cross_encoder=cross_encoder, output_scores=True, num_negatives=2)
    assert found != mine(pairs, StubModel(), output_scores=True, num_negatives=2)
    for row in found:
        expected = cross_encoder.predict([(row["anchor"], row["positive"]), (row["anchor"], row["negative"])])
        assert row["scores"] == expected.tolist()


def test_a_cross_encoder_is_called_once_with_each_pair() -> None:
    """6.2 calls it once a query, and again for the positives."""
    cross_encoder = StubCrossEncoder()
    pairs = [(f"q{i}", f"p{i}") for i in range(20)] * 2
    mine(pairs, StubModel(), cross_encoder=cross_encoder, include_positives=True, output_format="n-tuple")
    (call,) = cross_encoder.calls
    assert len(call) == len(set(call)) > 20


def test_range_min_skips_ranks_not_what_is_left_of_them() -> None:
    """6.2 skips the best of those that the filters leave."""
    scores = {"a": {"p": 0.9, "v": 0.8, "w": 0.7, "x": 0.6, "y": 0.5}}
    options = {"corpus": list("vwxy"), "range_min": 2, "max_score": 0.75, "num_negatives": 1}
    assert [row["negative"] for row in mine([("a", "p")], Table(scores), **options)] == ["x"]


def test_a_querys_own_text_is_no_negative() -> None:
    """6.2 takes it."""
    pairs = [("same 1", "p1"), ("other 2", "p2"), ("more 3", "same 1")]
    found = mine(pairs, StubModel(), corpus=["same 1", "other 2"])
    assert {(row["anchor"], row["negative"]) for row in found} == {
        ("same 1", "other 2"), ("same 1", "p2"), ("other 2", "same 1"), ("other 2", "p1"),
        ("more 3", "other 2"), ("more 3", "p1"), ("more 3", "p2"),
    }  # fmt: skip


def test_the_printed_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """6.2 counts positives and what has been dropped before, and divides by zero where nothing is left."""
    scores = {"a": {"p": 0.5, "v": 0.8, "w": 0.45, "x": 0.3, "y": 0.1}}
    options = {"absolute_margin": 0.1, "min_score": 0.2, "num_negatives": 1, "verbose": True}
    mine([("a", "p")], Table(scores), corpus=["v", "w", "x", "y", ""], **options)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "Setting range_max to 11 based on the provided parameters.",
        "Added 1 positives that the corpus did not hold.",
        "Left out 1 empty texts of the corpus.",
    ]
    assert [line for line in lines if line.startswith("Skipped")] == [
        "Skipped 2 potential negatives (50.00%) due to the absolute_margin of 0.1.",
        "Skipped 1 potential negatives (25.00%) due to the min_score of 0.2.",
    ]
    mine([("a", "p")], Table(scores), corpus=["v"], **options)
    lines = capsys.readouterr().out.splitlines()
    assert "Skipped 1 potential negatives (100.00%) due to the absolute_margin of 0.1." in lines
    assert lines[-1] == (
        "Could not find enough negatives for 1 samples (100.00%). Consider adjusting the range_max, absolute_margin "
        "and min_score parameters for more of them."
    )


def test_statistics_of_many_scores() -> None:
    """6.2 fails above 2^24 of them."""
    scores = (np.arange(2**24 + 5, dtype=np.float32) % 4096) / 4096
    found = Statistics.of(scores)
    assert found.count == len(scores)
    assert (found.least, found.greatest) == (0.0, 4095 / 4096)
    assert np.allclose([found.quarter, found.half, found.three_quarters, found.mean], [0.25, 0.5, 0.75, 0.5], atol=1e-3)
    assert found.median == found.half


def test_statistics_of_few_scores() -> None:
    assert Statistics.of(np.zeros(0, np.float32)).count == 0
    assert np.isnan(Statistics.of(np.zeros(0, np.float32)).mean)
    one = Statistics.of(np.array([0.5], np.float32))
    assert (one.mean, one.least, one.greatest) == (0.5, 0.5, 0.5) and np.isnan(one.std)


@pytest.mark.parametrize("output_scores", [False, True])
@pytest.mark.parametrize("output_format", FORMATS)
def test_nothing_left_is_an_empty_dataset_of_the_same_columns(output_format: str, output_scores: bool) -> None:
    pairs = [("a1", "p1"), ("b2", "p2"), ("c3", "p3")]
    options = {"output_format": output_format, "output_scores": output_scores, "num_negatives": 2, "verbose": False}
    empty = mine_hard_negatives(dataset_of(pairs), StubModel(), max_score=-2.0, **options)
    assert len(empty) == (3 if output_format == "labeled-pair" else 0)
    assert empty.features == mine_hard_negatives(dataset_of(pairs), StubModel(), **options).features


def test_thresholds_are_inclusive() -> None:
    scores = np.array([0.5, 0.3, 0.1], np.float32)
    zeros, base = np.zeros(3, np.int64), np.full(3, 0.5, np.float32)
    for options, kept in (
        ({"max_score": 0.3}, [False, True, True]),
        ({"min_score": 0.3}, [True, True, False]),
        ({"absolute_margin": 0.0}, [True, True, True]),
        ({"relative_margin": 0.4}, [False, True, True]),
    ):
        assert passing(scores, zeros, base, Filters(**options))[0].tolist() == kept


GOOD = [("a1", "p1"), ("b2", "p2")]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"anchor_column_name": "query"}, ValueError, "no column 'query'; it has 'anchor', 'positive'"),
        ({"positive_column_name": "query"}, ValueError, "no column 'query'"),
        ({"anchor_column_name": "positive", "positive_column_name": "positive"}, ValueError, "both"),
        ({"num_negatives": 0}, ValueError, "num_negatives must be 1 or more, not 0"),
        ({"range_min": -1}, ValueError, "range_min must be 0 or more"),
        ({"range_min": 5, "range_max": 5}, ValueError, "leave 0 candidates"),
        ({"range_max": 2, "num_negatives": 3}, ValueError, "leave 2 candidates, and num_negatives is 3"),
        ({"max_score": float("nan")}, ValueError, "max_score is not a number"),
        ({"batch_size": 0}, ValueError, "batch_size must be 1 or more"),
        ({"faiss_batch_size": 0}, ValueError, "faiss_batch_size must be 1 or more"),
        ({"sampling_strategy": "best"}, ValueError, "unknown sampling_strategy 'best'; use one of top, random"),
        ({"output_format": "pairs"}, ValueError, "unknown output_format 'pairs'"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"corpus": "text"}, TypeError, "corpus must be a list of texts"),
        ({"corpus": ["x", None]}, TypeError, r"corpus\[1\] is None"),
        ({"corpus": ["x", "\ud800"]}, ValueError, r"corpus\[1\] cannot be encoded"),
        (
            {"cross_encoder": StubCrossEncoder(lambda *_: float("nan"))},
            ValueError,
            r"gives nan for the pair \('a1', 'p1'",
        ),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mine(GOOD, StubModel(), **options)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"anchor": [], "positive": []}, ValueError, "no rows"),
        ({"anchor": ["a"]}, ValueError, "two columns are needed"),
        ({"anchor": ["a", "b"], "positive": ["p", None]}, TypeError, "row 1 of column 'positive' is None"),
        ({"anchor": ["a", "b"], "positive": ["p", " "]}, ValueError, "row 1 of column 'positive' is an empty text"),
        ({"anchor": ["", "b"], "positive": ["p", "q"]}, ValueError, "row 0 of column 'anchor' is an empty text"),
        ({"anchor": ["a", "b"], "positive": [1, 2]}, TypeError, "column 'positive' holds int64"),
        ({"anchor": ["a", "b"], "negative": ["p", "q"]}, ValueError, "two columns named 'negative'"),
    ],
)
def test_data_that_cannot_be_used(columns: dict[str, Any], error: type[Exception], message: str) -> None:
    model = StubModel()
    with pytest.raises(error, match=message):
        mine_hard_negatives(Dataset.from_dict(columns), model, num_negatives=1, verbose=False)
    assert not model.encoded


def test_what_is_no_dataset() -> None:
    with pytest.raises(TypeError, match=r"expected a datasets\.Dataset, not dict"):
        mine_hard_negatives({"anchor": ["a"], "positive": ["p"]}, StubModel())


def test_embeddings_that_are_not_finite() -> None:
    class Broken(StubModel):
        def encode(self, texts: Sequence[str], **options: Any) -> Any:
            rows = super().encode(texts, **options)
            rows[[text == "p2" for text in texts]] = float("nan")
            return rows

        encode_query = encode_document = encode

    with pytest.raises(ValueError, match="the embedding of the document 'p2' is not finite; there are 1 such"):
        mine(GOOD, Broken())


def test_a_cross_encoder_with_several_labels() -> None:
    class Several:
        def predict(self, pairs: Sequence[Any], **_: Any) -> np.ndarray:
            return np.zeros((len(pairs), 3))

    with pytest.raises(ValueError, match=r"scores of shape \(4, 3\) for 4 pairs"):
        mine(GOOD, StubModel(), cross_encoder=Several())


def test_without_datasets() -> None:
    dataset = dataset_of(GOOD)
    with patch.dict(sys.modules, {"datasets": None}), pytest.raises(ImportError, match="pip install datasets"):
        mine_hard_negatives(dataset, StubModel())


def test_views_of_a_dataset_and_long_strings() -> None:
    """Rows that were chosen and shuffled, and a column of large strings."""
    pairs = [(f"q{i}", f"p{i}") for i in range(20)]
    some = [7, 3, 11]
    table = pa.table({"anchor": pa.array([a for a, _ in pairs], pa.large_string()), "positive": [p for _, p in pairs]})
    found = mine_hard_negatives(Dataset(table).select(some), StubModel(), verbose=False)
    assert found.to_list() == mine([pairs[i] for i in some], StubModel())


def test_each_text_is_encoded_once() -> None:
    model = StubModel()
    mine([("a1", "p1"), ("a1", "p2"), ("b2", "p1")] * 5, model, corpus=["p1", "x", "x"], query_prompt="Q: ")
    assert model.encoded == {"Q: a1": 1, "Q: b2": 1, "p1": 1, "p2": 1, "x": 1}
