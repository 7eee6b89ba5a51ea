"""The similarity functions give the peer's results for every kind of input that the peer takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import util as peer

import st_ray

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")

MATRIX = ["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"]
PAIRWISE = ["pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim", "pairwise_manhattan_sim"]
ANGLE = "pairwise_angle_sim"
ALL = [*MATRIX, *PAIRWISE, ANGLE]

KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "nested list": lambda x: x.tolist(),
    "nested tuple": lambda x: tuple(map(tuple, x.tolist())),
    "float64 array": lambda x: x,
    "float32 array": lambda x: x.astype(np.float32),
    "float16 array": lambda x: x.astype(np.float16),
    "column-major array": lambda x: np.asfortranarray(x.astype(np.float32)),
    "read-only array": lambda x: np.frombuffer(x.astype(np.float32).tobytes(), np.float32).reshape(x.shape),
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "float64 tensor": torch.tensor,
    "float32 tensor": lambda x: torch.tensor(x).float(),
    "float16 tensor": lambda x: torch.tensor(x).half(),
    "bfloat16 tensor": lambda x: torch.tensor(x).bfloat16(),
    "float8 tensor": lambda x: torch.tensor(x).to(torch.float8_e4m3fn),
    "transposed tensor": lambda x: torch.tensor(x.T.copy()).T,
    "list of arrays": lambda x: list(x.astype(np.float32)),
    "list of tensors": lambda x: list(torch.tensor(x).float()),
    "list of bfloat16 tensors": lambda x: list(torch.tensor(x).bfloat16()),
    "no rows": lambda x: x[:0].astype(np.float32),
    "no rows, tensor": lambda x: torch.tensor(x[:0]),
    "no columns": lambda x: x[:, :0].astype(np.float32),
    "zero rows": lambda x: x.astype(np.float32) * (np.arange(len(x)) % 2)[:, None].astype(np.float32),
    "sparse": lambda x: sparse(x),
    "sparse float64": lambda x: torch.tensor(x * (x > 0)).to_sparse(),
    "sparse bfloat16": lambda x: sparse(x).bfloat16(),
    "sparse, not coalesced": lambda x: sparse(x) + sparse(-x / 2),
    "sparse, all zero": lambda x: torch.zeros(x.shape).to_sparse(),
    "list of sparse": lambda x: [sparse(row) for row in x],
    "vector": lambda x: x[0].astype(np.float32),
    "vector, list": lambda x: x[0].tolist(),
    "vector, sparse": lambda x: sparse(x[0]),
    "no numbers": lambda x: [],
}
INTEGERS: dict[str, Callable[[np.ndarray], Any]] = {
    "int64 array": lambda x: (x * 9).astype(np.int64),
    "int64 tensor": lambda x: torch.tensor(x * 9).long(),
    "nested list": lambda x: (x * 9).astype(int).tolist(),
}


def sparse(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(x * (x > 0)).float().to_sparse()


def sides(name: str, rows: int = 7, dimension: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    other = rows if name in PAIRWISE or name == ANGLE else rows - 2
    return rng.normal(size=(rows, dimension)), rng.normal(size=(other, dimension))


def assert_same(name: str, a: Any, b: Any, tolerance: float = 1e-6) -> None:
    expected = getattr(peer, name)(a, b)
    found = getattr(st_ray, name)(a, b)
    assert found.layout == torch.strided
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# The peer's angle similarity takes matrices only.
VECTORS = {"vector", "vector, list", "vector, sparse", "no numbers"}
CASES = [(name, kind) for name in ALL for kind in KINDS if name != ANGLE or kind not in VECTORS]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_kinds_of_input(name: str, kind: str) -> None:
    a, b = sides(name)
    assert_same(name, KINDS[kind](a), KINDS[kind](b))


@pytest.mark.parametrize(
    "name", ["dot_score", "pairwise_dot_score", "pairwise_euclidean_sim", "pairwise_manhattan_sim"]
)
@pytest.mark.parametrize("kind", INTEGERS)
def test_integers(name: str, kind: str) -> None:
    a, b = sides(name)
    assert_same(name, INTEGERS[kind](a), INTEGERS[kind](b))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("rows", [25, 26, 60])
@pytest.mark.parametrize("dimension", [1, 3, 64])
def test_sizes(name: str, rows: int, dimension: int) -> None:
    a, b = sides(name, rows, dimension)
    a[3] = 0
    b[: rows // 3] = a[: rows // 3]  # equal vectors, where distances by dot products are roughest
    assert_same(name, a.astype(np.float32), b.astype(np.float32))


@pytest.mark.parametrize("name", ALL)
def test_sides_of_different_kinds(name: str) -> None:
    a, b = (side.astype(np.float32) for side in sides(name))
    assert_same(name, a.tolist(), torch.tensor(b).bfloat16())
    assert_same(name, sparse(a), b)
    assert_same(name, a, sparse(b))
    if name != ANGLE:
        assert_same(name, a[:1], b)
        assert_same(name, a, b[0])


@pytest.mark.parametrize("name", ALL)
def test_gradients(name: str) -> None:
    a, b = sides(name, 30, 8)
    b[:4] = a[:4]
    gradients = []
    for module in (peer, st_ray):
        leaves = [torch.tensor(side, requires_grad=True) for side in (a, b)]
        scores = getattr(module, name)(*leaves)
        (scores * torch.arange(scores.numel()).reshape(scores.shape)).sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_normalize_and_truncate(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    tensor[..., :2] = 0
    torch.testing.assert_close(st_ray.normalize_embeddings(tensor), peer.normalize_embeddings(tensor), rtol=0, atol=0)
    for dimension in (None, 1, 3, 9):
        found = st_ray.truncate_embeddings(tensor, dimension)
        assert torch.equal(found, peer.truncate_embeddings(tensor, dimension))
        if dtype != torch.bfloat16:
            array = tensor.numpy()
            expected = peer.truncate_embeddings(array, dimension)
            np.testing.assert_array_equal(st_ray.truncate_embeddings(array, dimension), expected)
    if len(shape) < 3 and dtype == torch.float32:
        found = st_ray.normalize_embeddings(tensor.to_sparse())
        assert found.is_sparse
        expected = peer.normalize_embeddings(tensor.to_sparse()).to_dense()
        torch.testing.assert_close(found.to_dense(), expected, rtol=1e-6, atol=0)
