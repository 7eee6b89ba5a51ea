"""The scan: what all exact scores, sorted, would give, whatever the blocks, tiles, ties and similarities."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.scoring import scan
from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.topk import PADDING

NAMES = ("cosine", "dot", "euclidean", "manhattan")
DTYPES = (torch.float32, torch.float16, torch.float64, torch.int8)


@pytest.fixture(autouse=True, params=[False, True], ids=["tiles", "tiny tiles"])
def tiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """As they are, and so small that every border is crossed."""
    if not request.param:
        yield
        return
    small = {"QUERIES": 3, "TILE": {"cpu": 5, "cuda": 5}, "_PREPARED": 10, "_CHUNK": 4, "_WAITING": 1, "_PAIRS": 7}
    with patch.multiple(scan, **small):
        yield


def brute_force(name: str, queries: torch.Tensor, corpus: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    one, other = (
        side.double().numpy()[:, None] if side is queries else side.double().numpy() for side in (queries, corpus)
    )
    with np.errstate(invalid="ignore"):
        scores = {
            "cosine": lambda: np.nan_to_num(
                (one * other).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))
            ),
            "dot": lambda: (one * other).sum(-1),
            "euclidean": lambda: -np.sqrt(((one - other) ** 2).sum(-1)),
            "manhattan": lambda: -np.abs(one - other).sum(-1),
        }[name]()
    scores = scores.astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def scanned(
    name: str, queries: torch.Tensor, blocks: list[tuple[int, torch.Tensor]], k: int, coarse: bool = False
) -> tuple:
    found = Scan(similarity_of(name), queries, k, coarse=coarse)
    for first, block in blocks:
        found.absorb(block, first)
    return found.finish()


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    dtype=st.sampled_from(DTYPES),
    queries=st.integers(1, 8),
    rows=st.integers(1, 90),
    k=st.integers(1, 100),
    cuts=st.lists(st.integers(0, 90), max_size=5),
    spread=st.sampled_from([1, 3, 100]),
    coarse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_cut_equals_one_sort(
    name: str,
    dtype: torch.dtype,
    queries: int,
    rows: int,
    k: int,
    cuts: list[int],
    spread: int,
    coarse: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)  # small integers: every sum is exact, and ties abound
    corpus = torch.from_numpy(rng.integers(-spread, spread + 1, (rows, 6))).to(dtype)
    asked = torch.from_numpy(rng.integers(-spread, spread + 1, (queries, 6))).to(dtype)
    bounds = sorted({0, rows, *(cut for cut in cuts if cut <= rows)})
    blocks = [(first, corpus[first:last]) for first, last in itertools.pairwise(bounds)]
    rng.shuffle(blocks)
    scores, ids = scanned(name, asked, blocks, k, coarse)
    expected_scores, expected_ids = brute_force(name, asked, corpus, k)
    count = min(k, rows)
    assert (ids[:, count:] == PADDING).all()
    np.testing.assert_array_equal(ids[:, :count], expected_ids)
    np.testing.assert_array_equal(scores[:, :count], expected_scores)


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(NAMES),
    cuts=st.lists(st.integers(0, 700), max_size=6),
    k=st.integers(1, 60),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_real_numbers_give_the_same_bits_in_any_cut(
    name: str, cuts: list[int], k: int, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    corpus = torch.from_numpy(rng.standard_normal((700, 33), np.float32) * np.float32(scale))
    corpus[rng.integers(0, 700, 300)] = corpus[rng.integers(0, 700, 300)]  # equal rows, far apart
    asked = corpus[:5] + torch.from_numpy(rng.standard_normal((5, 33), np.float32)) * 0.3 * scale
    whole = scanned(name, asked, [(0, corpus)], k)
    bounds = sorted({0, 700, *cuts})
    blocks = [(first, corpus[first:last].clone()) for first, last in itertools.pairwise(bounds)]
    rng.shuffle(blocks)
    parts = scanned(name, asked, blocks, k, coarse=True)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[1], parts[1])
    np.testing.assert_allclose(whole[0], brute_force(name, asked, corpus, k)[0], rtol=2e-6, atol=2e-7 * scale**2)


@pytest.mark.parametrize("coarse", [False, True])
def test_cosines_of_rows_whose_squares_leave_float32(coarse: bool) -> None:
    rng = np.random.default_rng(5)
    rows = torch.from_numpy(rng.standard_normal((400, 32)).astype(np.float32))
    scaled = rows * 2.0 ** torch.from_numpy(rng.choice([-90, 0, 90], (400, 1)))
    scaled[7] = rows[7] = 0
    for dtype in (torch.float32, torch.float64):
        expected = scanned("cosine", rows[:50].to(dtype), [(0, rows.to(dtype))], 20, coarse)
        found = scanned("cosine", scaled[:50].to(dtype), [(0, scaled.to(dtype))], 20, coarse)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])


def test_thousands_of_equal_rows() -> None:
    corpus = torch.cat([torch.ones(9000, 8), torch.eye(8)])
    scores, ids = scanned("cosine", torch.ones(2, 8), [(0, corpus)], 4)
    assert ids.tolist() == [[0, 1, 2, 3]] * 2
    assert scores.tolist() == [[1.0] * 4] * 2


def test_scores_that_a_coarse_scan_cannot_tell_apart() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((400, 12), np.float32))
    corpus = 1 + 1e-3 * noise
    for name in ("cosine", "dot"):
        coarse, fine = (scanned(name, corpus[:20], [(0, corpus)], 9, coarse) for coarse in (True, False))
        np.testing.assert_array_equal(coarse[0], fine[0])
        np.testing.assert_array_equal(coarse[1], fine[1])


def test_what_torch_was_allowed_changes_nothing() -> None:
    corpus = torch.from_numpy(np.random.default_rng(1).standard_normal((500, 64), np.float32))
    before = scanned("cosine", corpus[:80], [(0, corpus)], 5)
    torch.set_float32_matmul_precision("medium")
    try:
        after = scanned("cosine", corpus[:80], [(0, corpus)], 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(before[1], after[1])
    np.testing.assert_array_equal(before[0], after[0])


def test_no_queries_and_no_rows() -> None:
    assert scanned("dot", torch.empty(0, 3), [(0, torch.ones(4, 3))], 2)[0].shape == (0, 2)
    scores, ids = scanned("dot", torch.ones(2, 3), [(0, torch.empty(0, 3))], 2)
    assert (ids == PADDING).all() and np.isneginf(scores).all()


def test_rows_that_are_not_finite_are_refused() -> None:
    corpus = torch.ones(40, 3)
    corpus[17, 1] = torch.nan
    for name in NAMES:
        with pytest.raises(ValueError, match="not a number"):
            scanned(name, torch.ones(2, 3), [(0, corpus)], 2)
