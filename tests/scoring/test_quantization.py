"""Quantization: what each precision keeps, where ranges come from, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from st_ray.scoring.quantization import (
    PRECISIONS,
    packed_dimension,
    precision_dtype,
    quantization_ranges,
    quantize_embeddings,
)

EMBEDDINGS = np.array([[-1.0, 0.0, 2.0], [1.0, 0.5, 2.0], [0.0, 0.25, 2.0]], np.float32)


def test_steps_by_hand() -> None:
    ranges = [[0.0, -1.0, 7.0], [255.0, 1.0, 7.0]]
    embeddings = [[0.0, -2.0, 7.0], [0.99, 0.0, 7.0], [254.5, 0.5, 8.0], [300.0, 1.5, 6.0]]
    # Steps round down, the ends hold what lies beyond, and a dimension without a range has steps of 1.
    expected = [[0, 0, 0], [0, 127, 0], [254, 191, 1], [255, 255, 0]]
    found = quantize_embeddings(embeddings, "uint8", ranges=ranges)
    assert found.tolist() == expected
    found = quantize_embeddings(embeddings, "int8", ranges=ranges)
    assert found.tolist() == (np.array(expected) - 128).tolist()


def test_bits_by_hand() -> None:
    vector = [0.1, -0.1, 0.0, 1.0, -1.0, -1.0, -1.0, -1.0, 5.0]
    assert quantize_embeddings([vector], "ubinary").tolist() == [[0b10010000, 0b10000000]]
    assert quantize_embeddings([vector], "binary").tolist() == [[0b10010000 - 128, 0]]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dimension", [1, 7, 8, 9, 384])
def test_dtype_and_columns(precision: str, dimension: int) -> None:
    rows = np.random.default_rng(0).normal(size=(4, dimension)).astype(np.float32)
    for embeddings in (rows, rows[:0], torch.tensor(rows)):
        found = quantize_embeddings(embeddings, precision)
        assert found.dtype == precision_dtype(precision)
        assert found.shape == (len(embeddings), packed_dimension(dimension, precision))


@given(st.lists(st.integers(0, 30), max_size=6), st.sampled_from(PRECISIONS))
def test_any_cut_equals_the_whole(cuts: list[int], precision: str) -> None:
    rows = np.random.default_rng(1).normal(size=(30, 11)).astype(np.float32)
    ranges = quantization_ranges(rows)
    parts = [quantize_embeddings(part, precision, ranges=ranges) for part in np.split(rows, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), quantize_embeddings(rows, precision))


def test_ranges_of_parts_merge() -> None:
    rows = np.random.default_rng(2).normal(size=(30, 5))
    parts = [quantization_ranges(part) for part in np.split(rows, [1, 9])]
    merged = np.stack([np.min([p[0] for p in parts], axis=0), np.max([p[1] for p in parts], axis=0)])
    whole = quantization_ranges(torch.tensor(rows))
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(merged, whole)


def test_input_is_not_written_to() -> None:
    for dtype in (np.float32, np.float64):
        rows = EMBEDDINGS.astype(dtype)
        for precision in PRECISIONS:
            quantize_embeddings(rows, precision)[...] = 1
        np.testing.assert_array_equal(rows, EMBEDDINGS)


def test_matrices_of_any_length_share_their_ranges() -> None:
    found = quantize_embeddings([EMBEDDINGS[:1], EMBEDDINGS[1:]], "int8")
    np.testing.assert_array_equal(np.concatenate(found), quantize_embeddings(EMBEDDINGS, "int8"))


def test_what_the_peer_does_not_take() -> None:
    expected = quantize_embeddings(EMBEDDINGS, "int8")
    ranges = quantization_ranges(EMBEDDINGS)
    tensor = torch.tensor(EMBEDDINGS, requires_grad=True)
    for found in (
        quantize_embeddings(tensor, "int8"),
        quantize_embeddings(tensor.detach().to_sparse(), "int8"),
        quantize_embeddings(tuple(EMBEDDINGS), "int8"),
        quantize_embeddings(EMBEDDINGS, "int8", ranges=ranges.tolist()),
        quantize_embeddings(EMBEDDINGS, "int8", ranges=torch.tensor(ranges)),
        quantize_embeddings(EMBEDDINGS, "int8", calibration_embeddings=tensor),
        quantize_embeddings(EMBEDDINGS.reshape(3, 1, 3), "int8").reshape(3, 3),
    ):
        np.testing.assert_array_equal(found, expected)


def test_few_embeddings_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    quantize_embeddings(np.repeat(EMBEDDINGS, 40, axis=0), "int8")
    quantize_embeddings(EMBEDDINGS, "int8", calibration_embeddings=EMBEDDINGS)
    assert not caplog.records
    quantize_embeddings(EMBEDDINGS, "int8")
    assert "taken from 3 embeddings only" in caplog.text


@pytest.mark.parametrize(
    ("embeddings", "options", "message"),
    [
        (EMBEDDINGS[0], {}, "from a single embedding"),
        (EMBEDDINGS[:1], {}, "from a single embedding"),
        ([EMBEDDINGS[:1], EMBEDDINGS[:0]], {}, "from a single embedding"),
        (EMBEDDINGS.astype(np.int8), {}, "int8, so quantized already"),
        ([EMBEDDINGS.astype(np.uint8)], {}, "uint8, so quantized already"),
        (EMBEDDINGS, {"ranges": np.zeros((2, 4))}, r"found \(2, 4\) for embeddings of shape \(3, 3\)"),
        (EMBEDDINGS, {"ranges": np.zeros((3, 3))}, r"found \(3, 3\)"),
        (EMBEDDINGS, {"calibration_embeddings": EMBEDDINGS[:0]}, r"at least one row, found \(0, 3\)"),
        (EMBEDDINGS, {"calibration_embeddings": EMBEDDINGS[0]}, r"found \(3,\)"),
        ([EMBEDDINGS, EMBEDDINGS[:, :2]], {}, r"as many columns, found \[2, 3\]"),
        ([[1.0, 2.0], [1.0]], {}, "vectors of one length"),
        (1.5, {}, "expected embeddings of shape"),
        (["a", "b"], {}, "expected embeddings of shape"),
    ],
)
def test_refusals(embeddings: object, options: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize_embeddings(embeddings, "int8", **options)


def test_unknown_precision() -> None:
    known = "use one of float32, float16, int8, uint8, binary, ubinary"
    for call in (
        lambda: quantize_embeddings(EMBEDDINGS, "int4"),
        lambda: quantize_embeddings([], "int4"),
        lambda: packed_dimension(8, "int4"),
        lambda: precision_dtype("int4"),
    ):
        with pytest.raises(ValueError, match=f"'int4'; {known}"):
            call()


def test_needs_no_torch() -> None:
    code = (
        "import sys; from st_ray.scoring.quantization import quantize_embeddings as q;"
        "q([[1.0, 2.0], [0.0, 3.0]], 'int8'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
