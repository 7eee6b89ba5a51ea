"""Quantized embeddings are the peer's, bit by bit, for every kind of input and source of the ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sentence_transformers.util import quantize_embeddings as by_peer

from st_ray import quantize_embeddings

PRECISIONS = ["float32", "int8", "uint8", "binary", "ubinary"]
RANGES = np.array([[-1.0] * 13, [1.5] * 13])
KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64 array": lambda x: x,
    "float32 array": lambda x: x.astype(np.float32),
    "float16 array": lambda x: x.astype(np.float16),
    "int64 array": lambda x: (x * 9).astype(np.int64),
    "column-major array": lambda x: np.asfortranarray(x),
    "float32 tensor": lambda x: torch.tensor(x).float(),
    "bfloat16 tensor": lambda x: torch.tensor(x).bfloat16(),
    "nested list": lambda x: x.tolist(),
    "list of arrays": lambda x: list(x.astype(np.float32)),
    "list of tensors": lambda x: list(torch.tensor(x).float()),
    "list of bfloat16 tensors": lambda x: list(torch.tensor(x).bfloat16()),
    "one dimension constant": lambda x: np.concatenate([x[:, :12], x[:1, 12:].repeat(len(x), axis=0)], axis=1),
    "list of matrices": lambda x: [x[:3].astype(np.float32), x[3:4], x[:0], x[4:]],
    "list of matrices, tensors": lambda x: [torch.tensor(x[:3]), torch.tensor(x[3:]).bfloat16()],
}
SOURCES: dict[str, Callable[[np.ndarray], dict[str, np.ndarray]]] = {
    "own": lambda x: {},
    "ranges": lambda x: {"ranges": RANGES},
    "calibration": lambda x: {"calibration_embeddings": x[:5] * 0.9},
    "calibration of one row": lambda x: {"calibration_embeddings": x[:1]},
    "both": lambda x: {"ranges": RANGES.astype(np.float32), "calibration_embeddings": x},
}


def rows(count: int = 20, dimension: int = 13) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, dimension))


def assert_same(embeddings: Any, precision: str, **options: Any) -> None:
    expected = by_peer(embeddings, precision, **options)
    found = quantize_embeddings(embeddings, precision, **options)
    if isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
    else:
        found, expected = [found], [expected]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_input(kind: str, source: str, precision: str) -> None:
    assert_same(KINDS[kind](rows()), precision, **SOURCES[source](rows()))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_vector(precision: str) -> None:
    for vector in (rows()[0], rows()[0].tolist(), torch.tensor(rows()[0]).float()):
        assert_same(vector, precision, ranges=RANGES)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing(precision: str) -> None:
    assert_same([], precision)
    assert_same(np.zeros((0, 13), np.float32), precision)
    assert_same(torch.zeros(0, 13), precision)
    assert_same([np.zeros((0, 13)), np.zeros((0, 13))], precision)


@pytest.mark.parametrize("precision", ["binary", "ubinary", "float32"])
def test_three_dimensions(precision: str) -> None:
    assert_same(rows(8, 9).reshape(2, 4, 9), precision)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(2, 6), st.integers(1, 20)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.sampled_from(PRECISIONS),
)
def test_any_numbers(embeddings: np.ndarray, precision: str) -> None:
    assert_same(embeddings, precision)
