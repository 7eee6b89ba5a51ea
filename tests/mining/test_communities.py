"""Communities: those of the peer's algorithm, whatever the blocks, the tiles and the arithmetic of the scan."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray import community_detection
from st_ray.mining import communities, neighbourhoods
from st_ray.mining.communities import greedy, nearest_first
from st_ray.mining.neighbourhoods import Neighbourhoods, Rows, all_counts, neighbour_counts

# Many of them are cosines of small integers, as 1/2 of [1, 1, 0] and [1, 0, 1].
THRESHOLDS = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.6, 0.75, 0.8, 0.95, 1.0)


@pytest.fixture(autouse=True, params=[False, True], ids=["tiles", "tiny tiles"])
def tiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """As they are, and so small that every border is crossed."""
    if not request.param:
        yield
        return
    with (
        patch.multiple(neighbourhoods, TILE={"cpu": 5, "cuda": 5}, _PAIRS=7, _BYTE=3, _UNSURE=4),
        patch.multiple(communities, CENTRES=3, LISTED=12),
    ):
        yield


def cosines(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1))
    products = lengths[:, None] * lengths
    dots = (rows[:, None] * rows).sum(axis=2)
    return np.divide(dots, products, out=np.zeros_like(dots), where=products > 0).astype(np.float32)


def reference(rows: np.ndarray, threshold: float, least: int) -> list[list[int]]:
    """The peer's algorithm, word for word, with cosines as this package defines them."""
    scores = cosines(rows)
    extracted = []
    for centre, row in enumerate(scores):
        near = np.flatnonzero(row >= np.float32(threshold))
        if len(near) >= least:
            extracted.append((centre, sorted(near.tolist(), key=lambda other, row=row: (-row[other], other))))
    extracted.sort(key=lambda community: len(community[1]), reverse=True)
    used: set[int] = set()
    unique = []
    for centre, members in extracted:
        if centre in used:
            continue
        left = [member for member in members if member not in used]
        if len(left) >= least:
            unique.append([centre, *(member for member in left if member != centre)])
            used.update(left)
    return sorted(unique, key=len, reverse=True)


def integers(rows: int, spread: int, seed: int) -> np.ndarray:
    """Small ones, so that ties, duplicates, rows of zeros and cosines at a threshold abound."""
    return np.random.default_rng(seed).integers(-spread, spread + 1, (rows, 4)).astype(np.float32)


@settings(deadline=None, max_examples=150)
@given(
    rows=st.integers(1, 60),
    spread=st.sampled_from([1, 2, 30]),
    threshold=st.sampled_from(THRESHOLDS),
    least=st.sampled_from([1, 2, 3, 5, 10, 25]),
    batch=st.sampled_from([1, 4, 1024]),
    dtype=st.sampled_from([np.float32, np.float64, np.float16, np.int8]),
    coarse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_peers_algorithm_on_ties(
    rows: int, spread: int, threshold: float, least: int, batch: int, dtype: type, coarse: bool, seed: int
) -> None:
    embeddings = integers(rows, spread, seed)
    with patch.object(neighbourhoods, "coarse_is_faster", lambda _: coarse):
        found = community_detection(embeddings.astype(dtype), threshold, least, batch)
    assert found == reference(embeddings, threshold, least)


@settings(deadline=None, max_examples=100)
@given(
    rows=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    spread=st.sampled_from([1, 2, 30]),
    threshold=st.sampled_from(THRESHOLDS),
    least=st.integers(1, 12),
    coarse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_partition_gives_the_same_communities(
    rows: int, cuts: list[int], spread: int, threshold: float, least: int, coarse: bool, seed: int
) -> None:
    embeddings = integers(rows, spread, seed)
    whole = Rows.prepare(torch.from_numpy(embeddings), coarse)
    bounds = sorted({0, rows, *(cut for cut in cuts if cut <= rows)})
    blocks = [
        (first, Rows.prepare(torch.from_numpy(embeddings[first:last]), coarse))
        for first, last in itertools.pairwise(bounds)
    ]

    sizes = np.zeros(rows, np.int64)
    for first, block in blocks:
        sizes[first : first + len(block)] += all_counts(block, threshold, strip=4)
    for (one, first), (other, second) in itertools.combinations(blocks, 2):
        ours, theirs = neighbour_counts(first, second, threshold)
        sizes[one : one + len(first)] += ours
        sizes[other : other + len(second)] += theirs

    def neighbours(centres: np.ndarray) -> Neighbourhoods:
        asked = whole.take(centres)
        return Neighbourhoods.join(
            [(first, neighbourhoods.neighbourhoods(asked, block, threshold)) for first, block in blocks]
        )

    found = [nearest_first(centre, members, whole.cosines) for centre, members in greedy(sizes, least, neighbours)]
    assert sorted(found, key=len, reverse=True) == reference(embeddings, threshold, least)


def clusters(rows: int, dimension: int, seed: int) -> np.ndarray:
    """Unit vectors around a few dozen centres, some of them near to one another."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, dimension))[rng.integers(0, 12, 40)] + rng.standard_normal((40, dimension))
    points = centres[rng.integers(0, 40, rows)] + rng.uniform(0.3, 1.5, (rows, 1)) * rng.standard_normal(
        (rows, dimension)
    )
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("least", [1, 2, 5, 10, 25])
@pytest.mark.parametrize("coarse", [False, True])
def test_real_numbers(least: int, coarse: bool) -> None:
    embeddings = clusters(250, 24, seed=least)
    for threshold in (0.3, 0.5, 0.75, 0.95):
        with patch.object(neighbourhoods, "coarse_is_faster", lambda _: coarse):
            assert community_detection(embeddings, threshold, least, 100) == reference(embeddings, threshold, least)


def test_candidates_that_are_taken_are_not_listed() -> None:
    """Three far groups of equal rows: one centre a group is enough."""
    embeddings = np.repeat(np.eye(3, dtype=np.float32), [9, 20, 10], axis=0)
    asked: list[int] = []

    def neighbours(centres: np.ndarray) -> Neighbourhoods:
        asked.extend(centres.tolist())
        near = embeddings[centres] @ embeddings.T > 0.5
        return Neighbourhoods(np.concatenate([[0], np.cumsum(near.sum(axis=1))]), np.nonzero(near)[1])

    sizes = np.repeat([9, 20, 10], [9, 20, 10])
    with patch.multiple(communities, CENTRES=2, LISTED=100):
        found = greedy(sizes, 10, neighbours)
    assert [(centre, members.tolist()) for centre, members in found] == [
        (9, list(range(9, 29))),
        (29, list(range(29, 39))),
    ]
    assert asked == [9, 10, 29, 30]


def test_the_centre_leads_its_equals() -> None:
    embeddings = np.array([[1, 0], [1, 0.1], [1, 0.1], [1, 0.4]], np.float32)
    assert community_detection(embeddings, 0.95, 2) == [[1, 2, 0, 3]]
    assert community_detection(embeddings[::-1], 0.95, 2) == [[1, 2, 3, 0]]


def test_rows_of_zeros_are_near_to_nothing() -> None:
    embeddings = np.zeros((6, 3), np.float32)
    embeddings[4:] = 1
    assert community_detection(embeddings, 0.1, 1) == [[4, 5]]
    assert community_detection(embeddings, 0.0, 1) == [[0, 1, 2, 3, 4, 5]]


def test_containers_and_edges() -> None:
    embeddings = clusters(90, 8, seed=0)
    expected = community_detection(embeddings, 0.5, 3)
    assert expected
    assert community_detection(torch.from_numpy(embeddings).requires_grad_(), 0.5, 3) == expected
    assert community_detection(embeddings.tolist(), 0.5, 3) == expected
    assert community_detection(list(embeddings), 0.5, 3) == expected
    assert all(type(member) is int for community in expected for member in community)
    assert community_detection([], 0.5, 1) == []
    assert community_detection(np.empty((0, 8), np.float32)) == []
    assert community_detection(embeddings[:9]) == []
    assert community_detection(embeddings[0], 0.5, 1) == [[0]]


def test_torch_keeps_its_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        community_detection(clusters(30, 8, seed=0), batch_size=4)
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(threads)


def test_a_bar_counts_rows(capsys: pytest.CaptureFixture[str]) -> None:
    community_detection(clusters(30, 8, seed=0), batch_size=7, show_progress_bar=True)
    assert "30/30" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.01}, "from -1 to 1, not 1.01"),
        ({"threshold": float("nan")}, "from -1 to 1, not nan"),
        ({"min_community_size": 0}, "min_community_size must be 1 or more, not 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more, not 0"),
        ({"embeddings": np.ones((4, 3, 2))}, r"not \(4, 3, 2\)"),
        ({"embeddings": np.array([[1.0], [np.nan]])}, "row 1 of the embeddings is not finite"),
        ({"embeddings": np.array([[np.inf], [1.0]])}, "row 0 of the embeddings is not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        community_detection(**{"embeddings": np.ones((20, 3)), "min_community_size": 1, **change})


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (torch.eye(4).to_sparse(), "expected dense embeddings"),
        (np.ones((4, 2), complex), "must be real numbers"),
        ("texts", "expected a list, an array or a tensor"),
    ],
)
def test_what_are_no_embeddings(embeddings: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        community_detection(embeddings, min_community_size=1)
