"""Paraphrase mining: what all scores, sorted, would give, whatever the blocks, the workers, ties and similarities."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray import (
    cos_sim,
    dot_score,
    euclidean_sim,
    manhattan_sim,
    paraphrase_mining,
    paraphrase_mining_embeddings,
)
from st_ray.core.pairs import Pairs, best, merged, picks
from st_ray.mining import collector, opening, paraphrases
from st_ray.mining.collector import Collector
from st_ray.mining.paraphrases import mine
from st_ray.scoring import triangle
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.triangle import Floors, Triangle
from tests.mining.brute_force import NAMES, brute_force, scores_of

FUNCTIONS = dict(zip(NAMES, (cos_sim, dot_score, euclidean_sim, manhattan_sim), strict=True))
DTYPES = (torch.float32, torch.float16, torch.float64, torch.int8)
SMALL = st.sampled_from([1, 2, 3, 7, 20])


@pytest.fixture(autouse=True, params=[False, True], ids=["tiles", "tiny tiles"])
def tiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """As they are, and so small that every border is crossed, floors rise, and samples are samples."""
    if not request.param:
        yield
        return
    with (
        patch.multiple(triangle, TILE={"cpu": (3, 10), "cuda": (3, 10)}, _CHUNK=4, _PAIRS=7),
        patch.multiple(collector, _WAITING=1, _FEW=5),
        patch.multiple(opening, _ASKED=6, _SAMPLE=12, _COST=3, _VALUES=50),
        patch.multiple(paraphrases, _BLOCK=8, _SCORES=40),
    ):
        yield


def listed(pairs: Pairs) -> list[list[float | int]]:
    return [list(pair) for pair in zip(pairs.scores.tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True)]


def integers(rng: np.random.Generator, rows: int, spread: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Small ones: every sum is exact, and ties and equal rows abound."""
    return torch.from_numpy(rng.integers(-spread, spread + 1, (rows, 5))).to(dtype)


@settings(deadline=None, max_examples=80)
@given(
    name=st.sampled_from(NAMES),
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(0, 45),
    spread=st.sampled_from([1, 3, 100]),
    top_k=SMALL | st.just(100),
    max_pairs=SMALL | st.sampled_from([0, 60, 5000]),
    coarse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_brute_force(
    name: str, dtype: torch.dtype, rows: int, spread: int, top_k: int, max_pairs: int, coarse: bool, seed: int
) -> None:
    embeddings = integers(np.random.default_rng(seed), rows, spread, dtype)
    with patch.object(triangle, "coarse_is_faster", lambda _: coarse):
        found = paraphrase_mining_embeddings(
            embeddings, max_pairs=max_pairs, top_k=top_k, score_function=FUNCTIONS[name]
        )
    assert found == brute_force(scores_of(name, embeddings), top_k, max_pairs)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(NAMES),
    kinds=st.integers(1, 4),
    top_k=st.integers(1, 9),
    max_pairs=st.sampled_from([1, 30, 300, 5000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_many_equal_rows(name: str, kinds: int, top_k: int, max_pairs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    embeddings = integers(rng, kinds, 3)[torch.from_numpy(rng.integers(0, kinds, 50))]
    embeddings[rng.permutation(50)[:9]] = integers(rng, 9, 3)
    found = paraphrase_mining_embeddings(embeddings, max_pairs=max_pairs, top_k=top_k, score_function=FUNCTIONS[name])
    assert found == brute_force(scores_of(name, embeddings), top_k, max_pairs)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    cuts=st.sets(st.integers(1, 39), max_size=5),
    workers=st.integers(1, 4),
    spread=st.sampled_from([1, 3]),
    top_k=SMALL,
    max_pairs=SMALL | st.just(5000),
    seed=st.integers(0, 2**32 - 1),
)
def test_block_pairs_may_be_shared_out_in_any_way(
    name: str, cuts: set[int], workers: int, spread: int, top_k: int, max_pairs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    embeddings = integers(rng, 40, spread)
    compared = Triangle(similarity_of(name))
    blocks = [compared.block(embeddings[a:b], a) for a, b in itertools.pairwise([0, *sorted(cuts), 40])]
    shares = [Collector(compared, 40, top_k, max_pairs, Floors()) for _ in range(workers)]
    work = list(itertools.combinations_with_replacement(blocks, 2))
    rng.shuffle(work)
    for one, other in work:
        share = shares[rng.integers(workers)]
        for pairs in compared.survivors(one, other, share.floors):
            share.absorb(pairs)
    pairs = merged([share.compact() for share in shares])
    found = best(pairs[picks(pairs, top_k).counts > 0], max_pairs)
    assert listed(found) == brute_force(scores_of(name, embeddings), top_k, max_pairs)


@settings(deadline=None, max_examples=15)
@given(
    name=st.sampled_from(NAMES),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    top_k=st.integers(1, 30),
    max_pairs=st.integers(1, 3000),
    seed=st.integers(0, 2**32 - 1),
)
def test_real_numbers_give_the_same_bits_in_any_blocks(
    name: str, scale: float, top_k: int, max_pairs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    embeddings = torch.from_numpy(rng.standard_normal((120, 33), np.float32) * np.float32(scale))
    embeddings[rng.integers(0, 120, 60)] = embeddings[rng.integers(0, 120, 60)]  # equal rows, far apart
    whole = mine(embeddings, similarity_of(name), top_k, max_pairs, coarse=False)
    with patch.object(paraphrases, "_BLOCK", 41):
        parts = mine(embeddings, similarity_of(name), top_k, max_pairs, coarse=True)
    assert listed(whole) == listed(parts)


def test_scores_that_a_coarse_scan_cannot_tell_apart() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((150, 12), np.float32))
    for name in ("cosine", "dot"):
        coarse, fine = (mine(1 + 1e-3 * noise, similarity_of(name), 9, 500, coarse=way) for way in (True, False))
        assert listed(coarse) == listed(fine)


def test_a_guess_that_is_too_high_is_noticed() -> None:
    embeddings = torch.from_numpy(np.random.default_rng(0).standard_normal((200, 8), np.float32))
    whole = mine(embeddings, similarity_of("cosine"), 5, 300)
    with patch.object(paraphrases, "guesses", lambda *_: iter([Floors(0.99), Floors(0.9), Floors()])):
        assert listed(mine(embeddings, similarity_of("cosine"), 5, 300)) == listed(whole)


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_the_callers_own_and_sparse_tensors(name: str) -> None:
    rng = np.random.default_rng(1)
    embeddings = integers(rng, 40, 3)
    expected = brute_force(scores_of(name, embeddings), 4, 60)
    scores = torch.from_numpy(scores_of(name, embeddings))
    numbered = torch.arange(40.0)[:, None]

    def looked_up(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return scores[one[:, 0].long()][:, other[:, 0].long()]

    for chunks in ((5000, 100_000), (1, 1), (7, 11), (40, 3)):
        assert paraphrase_mining_embeddings(numbered, *chunks, 60, 4, looked_up) == expected
        sparse = paraphrase_mining_embeddings(embeddings.to_sparse(), *chunks, 60, 4, FUNCTIONS[name])
        np.testing.assert_allclose([pair[0] for pair in sparse], [pair[0] for pair in expected], rtol=1e-5, atol=2e-3)
    for function in (FUNCTIONS[name], lambda a, b: FUNCTIONS[name](a, b)):
        found = paraphrase_mining_embeddings(embeddings.numpy(), 9, 13, 60, 4, function)
        np.testing.assert_allclose([pair[0] for pair in found], [pair[0] for pair in expected], rtol=1e-5, atol=2e-3)


def test_zero_vectors_score_zero_under_cosine() -> None:
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    assert paraphrase_mining_embeddings(rows, top_k=1) == [[0.0, 0, 1], [0.0, 0, 2], [0.0, 0, 3]]


def test_equal_rows_pick_the_smallest_numbers() -> None:
    found = paraphrase_mining_embeddings(np.ones((60, 3), np.float32), top_k=2)
    assert [pair[1:] for pair in found] == [[0, j] for j in range(1, 60)] + [[1, j] for j in range(2, 60)]


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_few_rows(rows: int) -> None:
    found = paraphrase_mining_embeddings(torch.eye(4)[:rows])
    assert found == [[0.0, i, j] for i, j in itertools.combinations(range(rows), 2)]
    assert paraphrase_mining_embeddings([[1.0, 0.0]] * rows, max_pairs=0) == []
    assert paraphrase_mining_embeddings([]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 0}, "top_k must be 1 or more, not 0"),
        ({"max_pairs": -1}, "max_pairs must be 0 or more, not -1"),
        ({"query_chunk_size": 0}, "query_chunk_size must be 1"),
        ({"corpus_chunk_size": -1}, "corpus_chunk_size must be 1"),
        ({"embeddings": np.ones(3)}, r"shape \(3,\); expected \[n, d\]"),
        ({"embeddings": np.ones((3, 0))}, r"shape \(3, 0\); expected"),
        ({"embeddings": np.array([[1.0], [np.nan]])}, "row 1 of the embeddings is not finite"),
        ({"embeddings": np.array([[np.inf], [1.0]])}, "row 0 of the embeddings is not finite"),
        ({"embeddings": np.full((2, 1), np.nan), "score_function": lambda a, b: a @ b.T}, "not a number"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paraphrase_mining_embeddings(**{"embeddings": np.eye(4), **change})


def test_texts_go_through_the_model() -> None:
    class Model:
        def encode(self, sentences: list[str], **options: Any) -> torch.Tensor:
            assert options == {
                "show_progress_bar": False,
                "batch_size": 7,
                "convert_to_tensor": True,
                "truncate_dim": 2,
                "prompt_name": None,
                "prompt": "p: ",
            }
            return torch.tensor([[len(text), 1.0] for text in sentences])

    found = paraphrase_mining(Model(), ["a", "bcd", "e"], batch_size=7, top_k=1, truncate_dim=2, prompt="p: ")
    assert [pair[1:] for pair in found] == [[0, 2], [0, 1]]
