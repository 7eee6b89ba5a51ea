"""Similarities: laws, tiles that change nothing and bound the memory, and what is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError
from st_ray.scoring import similarity
from st_ray.scoring.similarity import (
    cos_sim,
    dot_score,
    euclidean_sim,
    manhattan_sim,
    pairwise_angle_sim,
    pairwise_cos_sim,
    pairwise_dot_score,
    pairwise_euclidean_sim,
    pairwise_manhattan_sim,
    similarity_of,
)
from st_ray.scoring.tensors import normalize_embeddings, truncate_embeddings

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")

NAMES = ["cosine", "dot", "euclidean", "manhattan"]
MATRIX = [cos_sim, dot_score, euclidean_sim, manhattan_sim]
PAIRWISE = [pairwise_cos_sim, pairwise_dot_score, pairwise_euclidean_sim, pairwise_manhattan_sim, pairwise_angle_sim]


def rows(count: int, dimension: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension))


@pytest.mark.parametrize("name", NAMES)
def test_matrix_and_pairs_agree_and_higher_is_better(name: str) -> None:
    measure = similarity_of(name)
    assert measure.name == name
    a, b = rows(6), rows(6, seed=1)
    torch.testing.assert_close(measure.score(a, b).diagonal(), measure.pairwise(a, b))
    torch.testing.assert_close(measure.score(a, b), measure.score(b, a).T)
    vectors = normalize_embeddings(a)
    near, far = vectors + 0.1 * normalize_embeddings(b), -vectors
    assert (measure.pairwise(vectors, near) > measure.pairwise(vectors, far)).all()
    of_products = torch.allclose(dot_score(vectors, normalize_embeddings(b)), measure.score(a, b))
    assert measure.normalized == of_products == (name == "cosine")


def test_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown similarity 'cos'[\s\S]*cosine, dot, euclidean, manhattan"):
        similarity_of("cos")
    with pytest.raises(dataclasses.FrozenInstanceError):
        similarity_of("dot").name = "cosine"  # type: ignore[misc]


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_distances_by_definition(n: int, m: int, dimension: int, seed: int) -> None:
    a, b = rows(n, dimension, seed), rows(m, dimension, seed + 1)
    difference = a[:, None, :] - b[None, :, :]
    np.testing.assert_allclose(manhattan_sim(a, b), -np.abs(difference).sum(axis=2), atol=1e-12)
    np.testing.assert_allclose(euclidean_sim(a, b), -np.sqrt((difference**2).sum(axis=2)), atol=1e-12)


@pytest.mark.parametrize(("x", "y", "expected"), [((1, 0), (1, 0), 1), ((1, 0), (0, 1), 1), ((1, 1), (0, 2), 0)])
def test_angle_by_hand(x: tuple[float, ...], y: tuple[float, ...], expected: float) -> None:
    torch.testing.assert_close(pairwise_angle_sim([x], [y]), torch.tensor([float(expected)]))


@pytest.mark.parametrize("dimension", [1, 7, 8])
def test_angle_as_complex_numbers(dimension: int) -> None:
    def as_complex(matrix: np.ndarray) -> np.ndarray:
        padded = np.pad(matrix, ((0, 0), (0, dimension % 2)))
        first, second = np.split(padded / np.linalg.norm(padded, axis=1, keepdims=True), 2, axis=1)
        return first + 1j * second

    a, b = rows(5, dimension), rows(5, dimension, seed=1)
    product = (as_complex(a) * as_complex(b).conj()).sum(axis=1)
    np.testing.assert_allclose(pairwise_angle_sim(a, b), np.abs(product.real + product.imag))
    torch.testing.assert_close(pairwise_angle_sim(a[0], b[0]), pairwise_angle_sim(a, b)[0])


@pytest.mark.parametrize(("function", "p"), [(manhattan_sim, 1.0), (euclidean_sim, 2.0)])
@pytest.mark.parametrize("shape", [(1, 200, 6), (200, 1, 6), (70, 90, 5), (40, 30, 400)])
@pytest.mark.parametrize("gradient", [False, True])
def test_tiles_change_nothing(
    function: Callable[..., torch.Tensor], p: float, shape: tuple[int, int, int], gradient: bool, monkeypatch: Any
) -> None:
    calls = []
    one_shot = torch.cdist

    def counted(a: torch.Tensor, b: torch.Tensor, **options: Any) -> torch.Tensor:
        calls.append(len(a) * len(b) * (a.shape[1] if gradient and p == 1 else 1) * a.element_size())
        return one_shot(a, b, **options)

    monkeypatch.setattr(torch, "cdist", counted)
    monkeypatch.setattr(similarity, "_TEMPORARY_BYTES", 8192)
    n, m, dimension = shape
    sides = [torch.tensor(rows(count, dimension, seed), requires_grad=gradient) for seed, count in enumerate((n, m))]
    found = function(*sides)
    assert len(calls) > 1
    assert max(calls) <= 8192
    expected = -one_shot(*sides, p=p)
    torch.testing.assert_close(found, expected)
    if gradient:
        weights = torch.tensor(rows(n, m, seed=3))
        found_gradients = torch.autograd.grad((found * weights).sum(), sides)
        torch.testing.assert_close(found_gradients, torch.autograd.grad((expected * weights).sum(), sides))


@pytest.mark.parametrize(("count", "exact"), [(25, True), (26, False)])
def test_method_does_not_depend_on_the_tile(count: int, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 26 rows on, torch compares by dot products, and equal rows are no more at distance zero."""
    a = 100 * torch.tensor(rows(count, 16)).float()
    monkeypatch.setattr(similarity, "_TEMPORARY_BYTES", 5000)
    for found in (euclidean_sim(a, a), -torch.cdist(a, a)):
        assert (found.diagonal() == 0).all() == exact


MEMORY = """
import re, sys, torch
from pathlib import Path
from st_ray.scoring import similarity
torch.set_num_threads(1)
function, p, n, m, dimension = getattr(similarity, sys.argv[1]), *map(int, sys.argv[2:])
similarity._TEMPORARY_BYTES = 8 << 20
a, b = torch.rand(n, dimension), torch.rand(m, dimension)
function(a[:30], b[:30])
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
before = peak()
for score in (function, lambda a, b: -torch.cdist(a, b, p=float(p))):
    score(a, b)
    print(peak() - before - n * m * 4)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("name", "sizes"), [("euclidean_sim", (2, 30, 100_000, 256)), ("manhattan_sim", (1, 5000, 5000, 16))]
)
def test_memory_beside_the_result(name: str, sizes: tuple[int, ...]) -> None:
    command = [sys.executable, "-c", MEMORY, name, *map(str, sizes)]
    tiled, naive = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert tiled < 24 << 20
    assert naive > tiled + (48 << 20)


def test_integers_are_exact_or_floats() -> None:
    a, b = np.array([[100, -128, 3]], np.int8), np.array([[120, 127, 3]], np.int8)
    found = dot_score(a, b)
    assert (found.dtype, found.tolist()) == (torch.int64, [[100 * 120 - 128 * 127 + 9]])
    assert pairwise_manhattan_sim(a, b).tolist() == [-275]
    assert pairwise_manhattan_sim(a.view(np.uint8), b.view(np.uint8)).tolist() == [-(20 + 1)]
    assert pairwise_euclidean_sim(a, a + 1).dtype == torch.float32
    for function in (*MATRIX[0:1], *MATRIX[2:], pairwise_cos_sim, pairwise_angle_sim):
        found = function(a, b)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, function(a.astype(np.float32), b.astype(np.float32)))
    mask = np.array([[True, False, True]])
    assert dot_score(mask, mask).tolist() == [[2]]
    assert pairwise_manhattan_sim(mask, ~mask).tolist() == [-3]


@pytest.mark.parametrize("function", [*MATRIX, *PAIRWISE])
def test_kinds_that_the_peer_does_not_take(function: Callable[..., torch.Tensor]) -> None:
    a, b = rows(4), rows(4, seed=1)
    expected = function(a, b)
    for other in (
        a[::-1].copy()[::-1],
        a.astype(">f8"),
        tuple(a),
        tuple(torch.tensor(a)),
        [torch.tensor(a[0]), *a[1:]],
        [a[0].tolist(), *a[1:].astype(np.float64)],
    ):
        torch.testing.assert_close(function(other, b), expected)
    assert function(a.astype(np.float32), b).dtype == torch.float64
    with torch.no_grad():
        csr = torch.tensor(a).to_sparse_csr()
    torch.testing.assert_close(function(csr, b), function(a.astype(np.float32), b.astype(np.float32)))


def test_sparse_without_rows() -> None:
    empty, some = torch.zeros(0, 3).to_sparse(), torch.eye(3).to_sparse()
    for function in MATRIX:
        assert function(empty, some).shape == (0, 3)
        assert function(some, empty).shape == (3, 0)


def test_sparse_gradients() -> None:
    a, b = rows(5).astype(np.float32) * (rows(5) > 0), rows(5, seed=1).astype(np.float32)
    for function in (cos_sim, dot_score, euclidean_sim, *PAIRWISE):
        gradients = []
        for convert in (torch.Tensor.to_sparse, torch.Tensor.to_dense):
            leaf = torch.tensor(a, requires_grad=True)
            function(convert(leaf), b).sum().backward()
            gradients.append(leaf.grad)
        sparse, dense = gradients
        # Sparse tensors pass no gradient to what they leave out.
        torch.testing.assert_close(sparse[a != 0], dense[a != 0], rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="no gradient for sparse"):
        manhattan_sim(torch.tensor(a, requires_grad=True).to_sparse(), b)


@pytest.mark.parametrize("function", MATRIX)
@pytest.mark.parametrize(("first", "second"), [((3, 4), (2, 3)), ((0,), (2, 4)), ((1, 3, 4), (2, 4)), ((4,), (3,))])
def test_shapes_of_matrices(function: Callable[..., torch.Tensor], first: tuple, second: tuple) -> None:
    with pytest.raises(ValueError, match=r"cannot compare embeddings of shapes \(.*\) and \(.*\); expected \[n, d\]"):
        function(np.zeros(first), np.zeros(second))


@pytest.mark.parametrize("function", PAIRWISE)
@pytest.mark.parametrize(
    ("first", "second"), [((3, 4), (2, 4)), ((3, 4), (3, 1)), ((0, 4), (2, 4)), ((), ()), ((3,), (4,))]
)
def test_shapes_of_pairs(function: Callable[..., torch.Tensor], first: tuple, second: tuple) -> None:
    with pytest.raises(ValueError) as caught:
        function(np.zeros(first), np.zeros(second))
    assert f"{first} and {second}" in str(caught.value)


@pytest.mark.parametrize("function", [*MATRIX, *PAIRWISE, lambda a, b: normalize_embeddings(a)])
def test_refusals(function: Callable[..., torch.Tensor]) -> None:
    good = rows(2)
    for bad, message in (
        (None, "not NoneType"),
        ("abc", "not str"),
        (np.array([["a"]]), "an array of numbers, not of <U1"),
        (good.astype(object), "an array of numbers, not of object"),
        (good.astype(complex), "real numbers, not torch.complex128"),
    ):
        with pytest.raises(TypeError, match=message):
            function(bad, good)
    for bad in ([[1.0, 2.0], [1.0]], [np.zeros(2), np.zeros(3)], [torch.zeros(2), torch.zeros(3)], ["a"], [None]):
        with pytest.raises(ValueError, match=r"vectors of one (length|shape)"):
            function(bad, good)


def test_normalize_and_truncate() -> None:
    found = normalize_embeddings([[3, 4], [0, 0]])
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="single number"):
        normalize_embeddings(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"1 or more, or None for all dimensions, not -1"):
        truncate_embeddings(rows(2), -1)
    for bad in ([[1.0, 2.0]], torch.eye(2).to_sparse()):
        with pytest.raises(TypeError, match="expected an array or a dense tensor"):
            truncate_embeddings(bad, 1)
