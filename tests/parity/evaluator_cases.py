"""Cases for the evaluators of cross-encoders: arguments, texts and scores, with nothing of st-ray or its peers.

`OF_3_4_1` are played by the evaluators of sentence-transformers 3.4.1, whose results are recorded beside this file;
`OF_6_2` by their successors in the release that is installed. Random numbers are RandomState's, since NumPy promises
that its streams never change. Where documents to rerank have equal scores there are at most 16 of them, since the
peers rank more of them in no order that can be told (see `stable_order` in evaluator_runs).

stsb_dev.npy: the 1,500 pairs of the STS benchmark's dev set, `score` of all-MiniLM-L6-v2 trained by
benchmarks.sts_cross_encoder (one label, sigmoid), and the `gold` score from 0 to 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Pair = tuple[str, str]
Samples = Sequence[dict[str, Any]]

STSB = np.load(Path(__file__).with_name("stsb_dev.npy"))


@dataclass(frozen=True, eq=False)
class Call:
    """Scores of the case's pairs, `[n]` or `[n, labels]`, and the point in training they stand for."""

    scores: np.ndarray
    epoch: int = -1
    steps: int = -1


@dataclass(frozen=True, eq=False)
class Case:
    """One evaluator, built once and called once or more with the same folder.

    Attributes:
        evaluator: name of the class.
        arguments: of its constructor, by name.
        pairs: `[n]` the pairs that calls give scores of.
        calls: in their order.
        from_examples: build it from examples that hold two texts and a label.
    """

    evaluator: str
    arguments: dict[str, Any]
    pairs: Sequence[Pair]
    calls: Sequence[Call]
    from_examples: bool = False

    def __post_init__(self) -> None:
        for call in self.calls:
            if len(call.scores) != len(self.pairs):
                raise ValueError(f"{len(call.scores)} scores for {len(self.pairs)} pairs of {self.evaluator}")


def on_pairs(
    evaluator: str, gold: Any, scores: np.ndarray, *more: np.ndarray, from_examples: bool = False, **options: Any
) -> Case:
    """A case of an evaluator of labelled pairs; `more` are scores of later epochs."""
    pairs = [(f"a{row}", f"b{row}") for row in range(len(scores))]
    gold_name = "scores" if "Correlation" in evaluator else "labels"
    arguments = {"sentence_pairs": [list(pair) for pair in pairs], gold_name: gold, **options}
    return Case(evaluator, arguments, pairs, calls_of(scores, *more), from_examples)


def on_samples(
    evaluator: str, samples: Samples | dict[str, Any], scores: np.ndarray, *more: np.ndarray, **options: Any
) -> Case:
    """A case of a reranking evaluator; scores in the order of `pairs_of`."""
    pairs = pairs_of(samples.values() if isinstance(samples, dict) else samples)
    return Case(evaluator, {"samples": samples, **options}, pairs, calls_of(scores, *more))


def calls_of(*scores: np.ndarray) -> list[Call]:
    """One call at no epoch in particular, or one an epoch."""
    return [Call(scores[0])] if len(scores) == 1 else [Call(one, epoch, 500) for epoch, one in enumerate(scores)]


def pairs_of(samples: Iterable[dict[str, Any]]) -> list[Pair]:
    """Query and document, sample by sample, positives first; each pair once."""
    pairs: list[Pair] = []
    for sample in samples:
        for key in ("positive", "negative", "documents"):
            documents = sample.get(key, ())
            documents = [documents] if isinstance(documents, str) else documents
            pairs += [(sample["query"], document) for document in documents]
    return list(dict.fromkeys(pairs))


def normal(seed: int, *shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Distinct scores around 0."""
    return np.random.RandomState(seed).normal(size=shape).astype(dtype)


def coarse(seed: int, *shape: int, levels: int = 4) -> np.ndarray:
    """Scores of 0 to 1 with many ties, 0.5 among them."""
    return (np.random.RandomState(seed).randint(levels + 1, size=shape) / levels).astype(np.float32)


def labels_for(scores: np.ndarray, seed: int, above: float = 0.0) -> list[int]:
    """Labels that the scores predict, but not always: 1 above a level, or the best column."""
    noisy = scores + np.random.RandomState(seed).normal(size=scores.shape)
    return [int(label) for label in (noisy > above if scores.ndim == 1 else noisy.argmax(axis=1))]


# ---- One label: labels and scores -----------------------------------------------------------------------------------

ROWS = normal(1, 200)
EVEN = coarse(2, 60)
EPSILON = np.finfo(np.float32).eps
Labelled = dict[str, tuple[Any, np.ndarray]]

BINARY: Labelled = {
    "ordinary": (labels_for(ROWS, 3), ROWS),
    "float64": (labels_for(ROWS, 3), normal(1, 200, dtype=np.float64)),
    "ties": (labels_for(EVEN, 4, 0.5), EVEN),
    "ties, positives first": (sorted(labels_for(EVEN, 4, 0.5), reverse=True), EVEN),
    "ties, positives last": (sorted(labels_for(EVEN, 4, 0.5)), EVEN),
    "constant": ([1, 0, 0, 1, 0], np.full(5, 0.5, np.float32)),
    "all positive": ([1] * 12, normal(5, 12)),
    "all negative": ([0] * 12, normal(5, 12)),
    "one positive row": ([1], normal(6, 1)),
    "one negative row": ([0], normal(6, 1)),
    "two rows in order": ([1, 0], np.array([0.9, 0.2], np.float32)),
    "two rows out of order": ([0, 1], np.array([0.9, 0.2], np.float32)),
    "two equal rows": ([0, 1], np.array([0.7, 0.7], np.float32)),
    "best is everything": ([1, 1, 0, 1], np.array([0.9, 0.8, 0.7, 0.6], np.float32)),
    "best is nothing": ([0, 0, 0, 1], np.array([0.9, 0.8, 0.7, 0.6], np.float32)),
    "equally good cuts": ([1, 0, 1, 0, 1, 0], np.array([6, 5, 4, 3, 2, 1], np.float32)),
    "zeros of both signs": ([1, 0, 1, 0, 1, 0], np.array([-0.0, 0.0, 0.0, -0.0, 1.0, -1.0], np.float32)),
    "neighbouring floats, middle rounds down": ([1, 0], 1 + np.array([1, 0], np.float32) * EPSILON),
    "neighbouring floats, middle rounds up": ([1, 0], 1 + np.array([2, 1], np.float32) * EPSILON),
    "logits far below 0": (labels_for(ROWS, 3), ROWS * 3 - 40),
    "saturated": (labels_for(ROWS, 7), (ROWS * 3).clip(-1, 1)),
    "5,000 rows": (labels_for(normal(8, 5000), 9), normal(8, 5000)),
    "5,000 rows, ties": (labels_for(normal(8, 5000), 9), normal(8, 5000).round(1)),
    "labels as floats": ([float(label) for label in labels_for(ROWS, 3)], ROWS),
    "labels as booleans": ([bool(label) for label in labels_for(ROWS, 3)], ROWS),
    "labels as an array": (np.array(labels_for(ROWS, 3)), ROWS),
    # Not of float32: the peers would count labels, and take recall and F1, in that type.
    "labels as an array of floats": (np.array(labels_for(ROWS, 3), np.float64), ROWS),
    "a score that is no number": ([1, 0, 1, 0], np.array([0.9, np.nan, 0.2, 0.4], np.float32)),
    "a label of 2": ([1, 0, 2, 1], normal(10, 4)),
    "graded labels": ([1.0, 0.0, 0.5, 1.0], normal(10, 4)),
    "too few labels": ([1, 0, 1], normal(10, 4)),
    "a model of three labels": ([1, 0, 1, 0], normal(11, 4, 3)),
    "STSb": ((STSB["gold"] >= 3).astype(int).tolist(), STSB["score"]),
} | {
    f"small, {seed}": (
        np.random.RandomState(seed).randint(2, size=2 + seed % 7).tolist(),
        coarse(seed + 100, 2 + seed % 7, levels=1 + seed % 6),
    )
    for seed in range(25)
}

THRESHOLDS = {
    "hit exactly": on_pairs(
        "CEBinaryAccuracyEvaluator", [0, 0, 1, 0], np.array([0.5, 0.5, 0.75, 0.25], np.float32), threshold=0.5
    ),
    "hit exactly in float32": on_pairs(
        "CEBinaryAccuracyEvaluator", [0, 0, 1], np.array([0.1, 0.1, 0.2], np.float32), threshold=0.1
    ),
    "hit exactly in float64": on_pairs(
        "CEBinaryAccuracyEvaluator", [0, 0, 1], np.array([0.1, 0.1, 0.2]), threshold=0.1
    ),
    "of 0": on_pairs("CEBinaryAccuracyEvaluator", labels_for(ROWS, 3), ROWS, threshold=0),
    "below 0": on_pairs("CEBinaryAccuracyEvaluator", labels_for(ROWS, 3), ROWS, threshold=-0.75),
    "above all": on_pairs("CEBinaryAccuracyEvaluator", labels_for(ROWS, 3), ROWS, threshold=99.0),
    "on STSb": on_pairs("CEBinaryAccuracyEvaluator", *BINARY["STSb"], threshold=0.6),
}

# ---- Several labels -------------------------------------------------------------------------------------------------

THREE, FIVE = normal(20, 120, 3), normal(21, 200, 5)
NEVER = THREE - np.array([0, 0, 99], np.float32)

MULTICLASS: Labelled = {
    "three": (labels_for(THREE, 22), THREE),
    "float64": (labels_for(THREE, 22), normal(20, 120, 3, dtype=np.float64)),
    "five": (labels_for(FIVE, 23), FIVE),
    "one never predicted": (labels_for(THREE, 22), NEVER),
    "one never in the gold": ([label % 3 for label in labels_for(FIVE, 23)], FIVE),
    "a gold label that no output has": ([label + (label == 2) * 5 for label in labels_for(THREE, 22)], THREE),
    "ties": (labels_for(THREE, 22), coarse(24, 120, 3, levels=1)),
    "constant": (labels_for(THREE, 22), np.zeros((120, 3), np.float32)),
    "two": (labels_for(THREE[:, :2], 25), THREE[:, :2]),
    "two, one never predicted": ([0, 1, 1, 0], np.array([[1, 0]] * 4, np.float32)),
    "two of three outputs": ([label % 2 for label in labels_for(THREE, 22)], THREE),
    "two of three outputs, only these predicted": ([label % 2 for label in labels_for(THREE, 22)], NEVER),
    "two that are not 0 and 1": ([1, 2, 2, 1], np.array([[0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]], np.float32)),
    "one label": ([1] * 6, THREE[:6]),
    "one row": ([2], THREE[:1]),
    "5,000 rows": (labels_for(normal(26, 5000, 3), 27), normal(26, 5000, 3)),
    "labels as floats": ([float(label) for label in labels_for(THREE, 22)], THREE),
    "labels as an array": (np.array(labels_for(FIVE, 23), np.int32), FIVE),
    "scores that are no number": (labels_for(THREE, 22), np.where(THREE > 1, np.nan, THREE).astype(np.float32)),
    "too few labels": ([0, 1, 2], THREE[:4]),
    "a model of one label": ([0, 1, 1, 2], normal(28, 4)),
} | {
    f"small, {seed}": (
        np.random.RandomState(seed).randint(2 + seed % 3, size=4 + seed % 7).tolist(),
        coarse(seed + 200, 4 + seed % 7, 2 + seed % 3),
    )
    for seed in range(20)
}

# ---- Gold scores ----------------------------------------------------------------------------------------------------

CORRELATION: Labelled = {
    "ordinary": ((ROWS + normal(30, 200)).tolist(), ROWS),
    "float64": ((ROWS + normal(30, 200)).tolist(), normal(1, 200, dtype=np.float64)),
    "against": ((normal(30, 200) - ROWS).tolist(), ROWS),
    "ties on both sides": ((coarse(2, 60, levels=5) * 5).tolist(), EVEN),
    "two rows": ([1.0, 4.0], np.array([0.2, 0.3], np.float32)),
    "two rows, against": ([1.0, 4.0], np.array([0.3, 0.2], np.float32)),
    "two equal rows": ([1.0, 4.0], np.array([0.2, 0.2], np.float32)),
    "constant": (normal(30, 20).tolist(), np.full(20, 0.4, np.float32)),
    "constant gold": ([3.0] * 20, normal(30, 20)),
    "logits far below 0": ((ROWS + normal(30, 200)).tolist(), ROWS * 3 - 40),
    "5,000 rows": (normal(8, 5000).round(1).tolist(), normal(8, 5000) + normal(9, 5000)),
    "gold as integers": ([int(gold) for gold in (ROWS + normal(30, 200)).round()], ROWS),
    "gold as an array": ((ROWS + normal(30, 200)).astype(np.float64), ROWS),
    "a score that is no number": ([1.0, 2.0, 3.0, 4.0], np.array([0.1, np.nan, 0.3, 0.2], np.float32)),
    "one row": ([1.0], normal(31, 1)),
    "too few gold scores": ([1.0, 2.0, 3.0], normal(31, 4)),
    "a model of three labels": ([1.0, 2.0, 3.0, 4.0], normal(32, 4, 3)),
    "STSb": (STSB["gold"].tolist(), STSB["score"]),
} | {
    f"small, {seed}": (coarse(seed, 3 + seed % 6).tolist(), coarse(seed + 300, 3 + seed % 6, levels=1 + seed % 6))
    for seed in range(20)
}

# ---- Reranking ------------------------------------------------------------------------------------------------------


def lists_of(*sizes: tuple[int, int]) -> list[dict[str, Any]]:
    """Samples of so many positives and negatives, with texts of their own."""
    return [
        {
            "query": f"q{query}",
            "positive": [f"p{query}.{document}" for document in range(positives)],
            "negative": [f"n{query}.{document}" for document in range(negatives)],
        }
        for query, (positives, negatives) in enumerate(sizes)
    ]


def ragged(seed: int, samples: int, most_positives: int, most_negatives: int) -> list[dict[str, Any]]:
    """Samples of 1 or more documents of both kinds."""
    random = np.random.RandomState(seed)
    positives = random.randint(1, most_positives + 1, size=samples)
    negatives = random.randint(1, most_negatives + 1, size=samples)
    return lists_of(*zip(positives.tolist(), negatives.tolist(), strict=True))


def as_ranked(samples: Samples) -> list[dict[str, Any]]:
    """The same as documents that a search found: relevant ones from the third place on, none in every third list."""
    return [
        {
            "query": sample["query"],
            "positive": sample["positive"],
            "documents": [*negative[:2], *(sample["positive"][::-1] if number % 3 else ()), *negative[2:]],
        }
        for number, sample in enumerate(samples)
        for negative in [sample["negative"]]
    ]


def stsb_lists() -> tuple[list[dict[str, Any]], np.ndarray]:
    """Ten rows a sample, those of gold 4 or more its positives; with the scores in the order of `pairs_of`."""
    samples, rows = [], []
    for first in range(0, len(STSB), 10):
        ten = range(first, first + 10)
        positive, negative = ([row for row in ten if (STSB["gold"][row] >= 4) == wanted] for wanted in (True, False))
        texts = {"positive": [f"d{row}" for row in positive], "negative": [f"d{row}" for row in negative]}
        samples.append({"query": f"q{first}", **texts})
        rows += positive + negative
    return samples, STSB["score"][rows]


def normal_for(samples: Samples, seed: int) -> np.ndarray:
    """Distinct scores of all their documents."""
    return normal(seed, len(pairs_of(samples)))


LISTS = ragged(40, 30, 4, 40)
SCORES = normal_for(LISTS, 41)
SHORT = ragged(42, 40, 3, 13)
MANY = ragged(45, 200, 3, 47)
TIED = coarse(43, len(pairs_of(SHORT)), levels=3)

RERANKING: dict[str, tuple[Any, np.ndarray, dict[str, Any]]] = {
    "ordinary": (LISTS, SCORES, {}),
    "float64": (LISTS, normal(41, len(SCORES), dtype=np.float64), {}),
    "at 1": (LISTS, SCORES, {"at_k": 1}),
    "at 3": (LISTS, SCORES, {"at_k": 3}),
    "at more than there are": (LISTS, SCORES, {"at_k": 1000}),
    "mrr_at_k": (LISTS, SCORES, {"at_k": 10, "mrr_at_k": 3}),
    "mrr_at_k, named": (LISTS, SCORES, {"mrr_at_k": 5, "name": "dev"}),
    "ties": (SHORT, TIED, {}),
    "ties, at 1": (SHORT, TIED, {"at_k": 1}),
    "ties, at 2": (SHORT, TIED, {"at_k": 2}),
    "constant": (SHORT, np.zeros(len(TIED), np.float32), {"at_k": 3}),
    "zeros of both signs": (lists_of((2, 2), (1, 3)), np.array([-0.0, 0.0] * 4, np.float32), {}),
    "logits far below 0": (LISTS, SCORES - 40, {}),
    "two documents": (lists_of((1, 1)), np.array([0.1, 0.3], np.float32), {}),
    "positives below the cutoff": (lists_of((1, 5)), np.arange(6, dtype=np.float32), {"at_k": 3}),
    "some without negatives": (lists_of((3, 0), (1, 2), (2, 3), (2, 0)), normal(44, 13), {}),
    "none with both": (lists_of((3, 0), (0, 2)), normal(44, 5), {}),
    "tuples": ([{"query": "q", "positive": ("d", "e"), "negative": ("f",)}], np.arange(3, dtype=np.float32), {}),
    "some without positives": (lists_of((0, 4), (1, 2), (2, 3), (0, 1)), normal(44, 13), {}),
    "dictionary": ({f"id{at}": sample for at, sample in enumerate(LISTS)}, SCORES, {}),
    "same document on both sides": (
        [{"query": "q", "positive": ["d", "e"], "negative": ["f", "d", "g"]}],
        np.array([0.3, 0.6, 0.9, 0.1], np.float32),
        {},
    ),
    "same query twice": (
        [{"query": "q", "positive": ["d"], "negative": ["e", "f"]}] * 2,
        np.array([0.3, 0.6, 0.1], np.float32),
        {},
    ),
    "5,000 pairs": (MANY, normal_for(MANY, 46), {}),
    "at 0": (LISTS, SCORES, {"at_k": 0}),
    "no samples": ([], normal(47, 0), {}),
    "a score that is no number": (lists_of((1, 2)), np.array([0.3, np.nan, 0.1], np.float32), {}),
    "no key of negatives": ([{"query": "q", "positive": ["d"]}], np.ones(1, np.float32), {}),
    "no key of positives": ([{"query": "q", "negative": ["d"]}], np.ones(1, np.float32), {}),
    "empty query": ([{"query": "", "positive": ["d"], "negative": ["e"]}], np.arange(2, dtype=np.float32), {}),
    "a model of three labels": (lists_of((1, 2)), normal(48, 3, 3), {}),
    "STSb": (*stsb_lists(), {}),
    "STSb, at 2": (*stsb_lists(), {"at_k": 2}),
} | {
    f"small, {seed}": (
        ragged(seed, 3, 2, 1 + seed % 5),
        coarse(seed + 400, len(pairs_of(ragged(seed, 3, 2, 1 + seed % 5))), levels=1 + seed % 7),
        {"at_k": 1 + seed % 4},
    )
    for seed in range(20)
}

FOUND = [
    {"query": "q0", "positive": ["a", "b"], "documents": ["c", "a", "d", "b", "e"]},
    {"query": "q1", "positive": ["a"], "documents": ["c", "d", "e", "f", "a"]},
    {"query": "q2", "positive": ["b"], "documents": ["b", "c", "d"]},
]
PARTLY = [
    *FOUND,
    {"query": "q3", "positive": ["a", "z", "y"], "documents": ["c", "a", "d"]},
    {"query": "q4", "positive": ["x"], "documents": ["c", "d"]},
    {"query": "q5", "positive": [], "documents": ["c", "d"]},
]
MIXED = [*PARTLY, *lists_of((2, 3), (1, 4))]
RANKED = as_ranked(MANY)
DOCUMENTS: dict[str, tuple[Any, np.ndarray, dict[str, Any]]] = {
    "all positives found": (FOUND, normal_for(FOUND, 50), {}),
    "some positives missed": (PARTLY, normal_for(PARTLY, 51), {}),
    "some positives missed, at 2": (PARTLY, normal_for(PARTLY, 51), {"at_k": 2, "name": "dev"}),
    "ties": (PARTLY, coarse(52, len(pairs_of(PARTLY)), levels=2), {}),
    "documents and negatives": (MIXED, normal_for(MIXED, 53), {}),
    "same document twice": (
        [{"query": "q", "positive": ["a"], "documents": ["b", "a", "b", "a", "c"]}],
        np.array([0.5, 0.7, 0.2], np.float32),
        {},
    ),
    "no positive anywhere": ([{"query": "q", "positive": [], "documents": ["a", "b"]}], normal(54, 2), {}),
    "one positive as text": ([{"query": "q", "positive": "ab", "documents": ["a", "ab", "b"]}], normal(55, 3), {}),
    "both keys": ([{"query": "q", "positive": ["a"], "documents": ["a"], "negative": ["b"]}], normal(57, 2), {}),
    "5,000 documents": (RANKED, normal_for(RANKED, 59), {}),
}

# ---- The cases ------------------------------------------------------------------------------------------------------


def of_files(evaluator: str, gold: Any, scores: np.ndarray, kind: str = "") -> dict[str, Case]:
    """What concerns the file of an evaluator of labelled pairs."""
    return {
        f"{evaluator}: {kind}named": on_pairs(evaluator, gold, scores, name="sts-dev"),
        f"{evaluator}: {kind}three epochs": on_pairs(evaluator, gold, scores, scores**2, -scores, name="dev"),
        f"{evaluator}: {kind}no file": on_pairs(evaluator, gold, scores, write_csv=False),
    }


def cases_of_3_4_1() -> dict[str, Case]:
    """By name: the evaluator, and what is particular."""
    cases: dict[str, Case] = {}
    for evaluator, data in {
        "CEBinaryAccuracyEvaluator": BINARY,
        "CEBinaryClassificationEvaluator": BINARY,
        "CESoftmaxAccuracyEvaluator": MULTICLASS,
        "CEF1Evaluator": MULTICLASS,
        "CECorrelationEvaluator": CORRELATION,
    }.items():
        cases |= {f"{evaluator}: {name}": on_pairs(evaluator, *given) for name, given in data.items()}
        first = next(iter(data.values()))
        cases |= of_files(evaluator, *first)
        cases[f"{evaluator}: from examples"] = on_pairs(evaluator, *first, from_examples=True, name="examples")
    cases |= {f"CEBinaryAccuracyEvaluator: threshold {name}": case for name, case in THRESHOLDS.items()}
    reranking = "CERerankingEvaluator"
    for name, (samples, scores, options) in RERANKING.items():
        cases[f"{reranking}: {name}"] = on_samples(reranking, samples, scores, **options)
    return cases | epochs_of(reranking)


def cases_of_6_2() -> dict[str, Case]:
    """The same data for the successors, and lists of documents that a first stage found."""
    cases: dict[str, Case] = {}
    for evaluator, data in {
        "CrossEncoderClassificationEvaluator": BINARY
        | {f"several labels, {name}": given for name, given in MULTICLASS.items()},
        "CrossEncoderCorrelationEvaluator": CORRELATION,
    }.items():
        cases |= {f"{evaluator}: {name}": on_pairs(evaluator, *given) for name, given in data.items()}
        cases |= of_files(evaluator, *next(iter(data.values())))
    cases |= of_files("CrossEncoderClassificationEvaluator", *MULTICLASS["three"], kind="several labels, ")
    cases["CrossEncoderCorrelationEvaluator: from examples"] = on_pairs(
        "CrossEncoderCorrelationEvaluator", *CORRELATION["ordinary"], from_examples=True
    )
    reranking = "CrossEncoderRerankingEvaluator"
    for name, (samples, scores, options) in (RERANKING | DOCUMENTS).items():
        cases[f"{reranking}: {name}"] = on_samples(reranking, samples, scores, **options)
    for name, (samples, scores, options) in ({"negatives": RERANKING["ordinary"]} | DOCUMENTS).items():
        kept = on_samples(reranking, samples, scores, always_rerank_positives=False, **options)
        cases[f"{reranking}: as found, {name}"] = kept
    return cases | epochs_of(reranking)


def epochs_of(evaluator: str) -> dict[str, Case]:
    """Reranking over three epochs, and without a file."""
    return {
        f"{evaluator}: three epochs": on_samples(evaluator, LISTS, SCORES, SCORES**2, -SCORES, name="dev"),
        f"{evaluator}: no file": on_samples(evaluator, LISTS, SCORES, write_csv=False),
    }


OF_3_4_1 = cases_of_3_4_1()
OF_6_2 = cases_of_6_2()
