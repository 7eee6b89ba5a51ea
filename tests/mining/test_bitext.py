"""Bitext mining: the plain definition, whatever the cut; translations are found, and noise is not taken for them."""

from __future__ import annotations

import itertools
import math
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.mining import bitext
from st_ray.mining.bitext import (
    MARGINS,
    RETRIEVALS,
    BitextPairs,
    margin_pairs,
    mean_similarity,
    mine_bitext,
    retrieve,
)
from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.topk import PADDING

Found = list[list[float | int]]


def cosine(x: list[int], y: list[int]) -> float:
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    squares = sum(a * a for a in x) * sum(b * b for b in y)
    return float(np.float32(dot / math.sqrt(squares))) if squares else 0.0


def by_definition(
    source: list[list[int]], target: list[list[int]], k: int, margin: str, retrieval: str, threshold: float | None
) -> Found:
    cosines = [[cosine(x, y) for y in target] for x in source]
    columns = [list(column) for column in zip(*cosines, strict=True)]

    def neighbours(scores: list[float]) -> list[int]:
        return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]

    def mean(scores: list[float]) -> float:
        near = neighbours(scores)
        return float(np.float32(math.fsum(scores[i] for i in near) / len(near)))

    def pair(i: int, j: int) -> list[float | int] | None:
        a, b = cosines[i][j], (mean(cosines[i]) + mean(columns[j])) / 2
        if margin == "ratio" and b <= 0:
            return None
        value = {"ratio": lambda: a / b, "distance": lambda: a - b, "absolute": lambda: a}[margin]()
        return [float(np.float32(value)), i, j]

    def order(found: list[float | int]) -> tuple[float | int, ...]:
        return -found[0], found[1], found[2]

    forward, backward = [], []
    for i, scores in enumerate(cosines):
        forward += sorted(filter(None, (pair(i, j) for j in neighbours(scores))), key=order)[:1]
    for j, scores in enumerate(columns):
        backward += sorted(filter(None, (pair(i, j) for i in neighbours(scores))), key=order)[:1]
    chosen = {
        "forward": forward,
        "backward": backward,
        "intersection": [found for found in forward if found in backward],
        "max": forward + backward,
    }[retrieval]
    result: Found = []
    for found in sorted(chosen, key=order):
        free = all(found[1] != other[1] and found[2] != other[2] for other in result)
        if (threshold is None or found[0] >= threshold) and (free or retrieval != "max"):
            result.append(found)
    return result


def blocks(rows: int, cuts: list[int]) -> list[tuple[int, int]]:
    borders = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    return list(itertools.pairwise(borders))


def in_blocks(
    source: torch.Tensor, target: torch.Tensor, k: int, margin: str, cuts: tuple[list[int], list[int]]
) -> tuple[BitextPairs, BitextPairs]:
    """Candidates of both sides, as a job would find them: block by block, and nothing but means in common."""

    def near(queries: torch.Tensor, rows: torch.Tensor, query_cuts: list[int], row_cuts: list[int]) -> list[Any]:
        found = []
        for first, last in blocks(len(queries), query_cuts):
            scan = Scan(similarity_of("cosine"), queries[first:last], k)
            for start, end in blocks(len(rows), row_cuts):
                scan.absorb(rows[start:end], start)
            found.append((first, *scan.finish()))
        return found

    sides = near(source, target, *cuts), near(target, source, *reversed(cuts))
    means = [np.concatenate([mean_similarity(scores) for _, scores, _ in side]) for side in sides]
    forward, backward = (
        BitextPairs.joined(
            [
                margin_pairs(scores, ids, own[first : first + len(ids)], other, margin=margin, first=first)
                for first, scores, ids in side
            ]
        )
        for side, own, other in zip(sides, means, reversed(means), strict=True)
    )
    return forward, backward.flipped()


def rows_of(pairs: BitextPairs) -> Found:
    return [list(row) for row in zip(pairs.margin.tolist(), pairs.source.tolist(), pairs.target.tolist(), strict=True)]


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    dimension=st.integers(1, 4),
    spread=st.integers(1, 3),
    least=st.sampled_from([-1, 0]),
    k=st.integers(1, 16),
    margin=st.sampled_from(MARGINS),
    threshold=st.sampled_from([None, -0.5, 0.0, 0.5, 1.0, 1.25]),
    cuts=st.tuples(st.lists(st.integers(0, 14), max_size=3), st.lists(st.integers(0, 14), max_size=3)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_cut_equals_the_definition(
    sizes: tuple[int, int],
    dimension: int,
    spread: int,
    least: int,
    k: int,
    margin: str,
    threshold: float | None,
    cuts: tuple[list[int], list[int]],
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    source, target = (
        torch.from_numpy(random.integers(least * spread, spread + 1, (rows, dimension)).astype(np.float32))
        for rows in sizes
    )
    forward, backward = in_blocks(source, target, k, margin, cuts)
    forward, backward = (side[random.permutation(len(side))] for side in (forward, backward))
    for retrieval in RETRIEVALS:
        expected = by_definition(source.tolist(), target.tolist(), k, margin, retrieval, threshold)
        assert rows_of(retrieve(forward, backward, retrieval=retrieval, threshold=threshold)) == expected
        with patch.multiple(bitext, _QUERIES=3, _PREFIX=2):
            found = mine_bitext(source, target, neighbors=k, margin=margin, retrieval=retrieval, threshold=threshold)
        assert found == expected


@settings(deadline=None, max_examples=100)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 12)), max_size=60),
    prefix=st.sampled_from([1, 2, 7, 1000]),
)
def test_one_to_one_is_the_walk_from_best_to_worst(pairs: list[tuple[int, int, int]], prefix: int) -> None:
    margin, source, target = (np.array([pair[i] for pair in pairs], np.int64) for i in range(3))
    everything = BitextPairs(margin.astype(np.float32), source, target)
    expected: Found = []
    for value, one, other in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        if all(one != found[1] and other != found[2] for found in expected):
            expected.append([value, one, other])
    with patch.object(bitext, "_PREFIX", prefix):
        assert rows_of(retrieve(everything, everything)) == expected


def test_a_long_chain_of_ties_is_walked() -> None:
    """Each pair shares a row with the one before it, so that none is certain before that one is."""
    rows = np.repeat(np.arange(5_000), 2)
    chain = BitextPairs(np.ones(len(rows) - 1, np.float32), rows[1:], rows[:-1])
    found = retrieve(chain, chain[rows[:0]])
    np.testing.assert_array_equal(found.source, np.arange(5_000))
    np.testing.assert_array_equal(found.target, np.arange(5_000))


def two_languages(noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1,000 texts with much in common, encoded twice with noise, the second time shuffled; and where each one went."""
    random = np.random.default_rng(0)
    texts = random.standard_normal((1000, 64)) + random.standard_normal(64)
    source, target = (texts + noise * random.standard_normal(texts.shape) for _ in range(2))
    order = random.permutation(1000)
    return source.astype(np.float32), 3 * target[order].astype(np.float32), np.argsort(order)


@pytest.mark.parametrize("retrieval", RETRIEVALS)
@pytest.mark.parametrize("margin", MARGINS)
def test_translations_are_found(margin: str, retrieval: str) -> None:
    source, target, place = two_languages(noise=0.3)
    found = mine_bitext(source, target, margin=margin, retrieval=retrieval)
    assert [place[pair[1]] for pair in found] == [pair[2] for pair in found]
    assert len(found) == 1000


def test_the_margin_finds_more_in_noise_than_the_cosine() -> None:
    source, target, place = two_languages(noise=1.0)

    def right_and_all(**options: Any) -> tuple[int, int]:
        found = mine_bitext(source, target, **options)
        return sum(int(place[s] == t) for _, s, t in found), len(found)

    right, found = right_and_all()
    assert right > 840
    assert right > right_and_all(margin="absolute")[0] + 20
    certain, strict = right_and_all(threshold=1.1)
    assert certain > 500
    assert strict - certain < 5 < 40 < found - right


def test_texts_that_are_close_to_everything_come_last() -> None:
    """1,000 translations beside 300 texts a side that translate nothing and are all alike."""
    source, target, place = two_languages(noise=0.3)
    random = np.random.default_rng(1)
    alike = random.standard_normal(64)
    boilerplate = alike + 0.2 * random.standard_normal((2, 300, 64))
    source, target = (np.concatenate([side, other]) for side, other in zip((source, target), boilerplate, strict=True))

    def right_among_the_first(margin: str) -> int:
        found = mine_bitext(source, target, margin=margin)[:1000]
        return sum(s < 1000 and place[s] == t for _, s, t in found)

    assert right_among_the_first("ratio") == 1000
    assert right_among_the_first("absolute") < 900


@pytest.mark.parametrize(("in_common", "most"), [(1.0, 2), (0.0, 400)])
def test_noise_has_no_translations(in_common: float, most: int) -> None:
    """Embeddings have much in common, so that a threshold near 1 suffices; random directions have nothing."""
    random = np.random.default_rng(0)
    common = in_common * random.standard_normal(64)
    source, target = (random.standard_normal((1000, 64)) + common for _ in range(2))
    assert len(mine_bitext(source, target, retrieval="intersection", threshold=1.1)) <= most
    assert len(mine_bitext(source, target, retrieval="intersection", threshold=1.4)) == 0


def test_containers_and_dtypes() -> None:
    random = np.random.default_rng(0)
    source, target = (random.integers(-9, 10, (20, 5)) for _ in range(2))
    found = mine_bitext(source.astype(np.float32), target.astype(np.float32))
    for one, other in (
        (source.tolist(), target.tolist()),
        (source.astype(np.int8), target.astype(np.float64)),
        (torch.from_numpy(source).half(), list(target)),
        (torch.from_numpy(source).float().requires_grad_(), torch.from_numpy(target).float().to_sparse()),
    ):
        assert mine_bitext(one, other) == found
    assert mine_bitext(source[0], target[:1], margin="absolute") == mine_bitext(
        source[:1], target[:1], margin="absolute"
    )
    for one, other in (([], target), (source, []), (source[:0], target)):
        assert mine_bitext(one, other) == []


def test_a_ratio_needs_a_mean_above_zero() -> None:
    """The mean of two neighbours is 0 on both sides, since there are only these two."""
    source = target = np.array([[1.0, 0], [-1, 0]])
    assert mine_bitext(source, target) == []
    assert mine_bitext(source, target, margin="distance") == [[1.0, 0, 0], [1.0, 1, 1]]
    assert mine_bitext(source, target, neighbors=1) == [[1.0, 0, 0], [1.0, 1, 1]]
    zeros = np.zeros((3, 2))
    assert mine_bitext(zeros, zeros) == []
    assert mine_bitext(zeros, zeros, margin="absolute") == [[0.0, 0, 0]]


@pytest.mark.parametrize("margin", MARGINS)
def test_empty_places_are_no_neighbours(margin: str) -> None:
    scores = np.array([[0.5, -np.inf], [-np.inf, -np.inf], [0.75, 0.25]], np.float32)
    ids = np.array([[1, PADDING], [PADDING, PADDING], [1, 0]])
    means = mean_similarity(scores)
    assert (means.dtype, means.tolist()) == (np.float32, [0.5, 0.0, 0.5])
    pairs = margin_pairs(scores, ids, means, np.array([0.25, 0.5], np.float32), margin=margin, first=10)
    expected = {"ratio": [1.0, 1.5], "distance": [0.0, 0.25], "absolute": [0.5, 0.75]}[margin]
    assert rows_of(pairs) == [[expected[0], 10, 1], [expected[1], 12, 1]]
    assert rows_of(pairs.flipped()) == [[expected[0], 1, 10], [expected[1], 1, 12]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighbors": 0}, "neighbors must be 1 or more, not 0"),
        ({"margin": "ratios"}, "unknown margin 'ratios'; use one of ratio, distance, absolute"),
        ({"retrieval": "best"}, "unknown retrieval 'best'; use one of max, intersection, forward, backward"),
        ({"source_embeddings": np.ones((2, 3))}, r"shapes \(2, 3\) and \(6, 4\)"),
        ({"source_embeddings": [[0.0] * 4, [1, 1, math.nan, 1], [math.nan] * 4]}, "source row 1 is not finite; .* 2 "),
        ({"target_embeddings": [[0.0] * 4, [1, -math.inf, 0, 1]]}, "target row 1 is not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mine_bitext(**{"source_embeddings": np.ones((5, 4)), "target_embeddings": np.ones((6, 4)), **change})


def test_an_unknown_retrieval_is_not_taken_for_another() -> None:
    nothing = BitextPairs(np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
    with pytest.raises(ValueError, match="unknown retrieval 'Max'"):
        retrieve(nothing, nothing, retrieval="Max")
    assert [len(retrieve(nothing, nothing, retrieval=name)) for name in RETRIEVALS] == [0, 0, 0, 0]


def test_ties_of_the_margin_go_to_the_smaller_position_not_to_the_greater_cosine() -> None:
    pairs = margin_pairs(
        np.array([[0.5, 0.25, 0.25]], np.float32),
        np.array([[2, 0, 1]]),
        np.array([0.5], np.float32),
        np.array([0.0, 0.0, 0.5], np.float32),
    )
    assert rows_of(pairs) == [[1.0, 0, 0]]
