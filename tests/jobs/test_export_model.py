"""The flags of the export job: what is refused before anything is read."""

from __future__ import annotations

import pytest

from jobs._cli import parse
from st_ray.core.errors import ConfigError
from st_ray.export.check import APPROXIMATE, EXACT, INT8
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.export.config import ExportModelConfig

NEEDED = ["--model", "m", "--output", "o", "--backend"]


def test_thresholds_are_those_of_what_is_made() -> None:
    assert parse(ExportModelConfig, [*NEEDED, "onnx"]).thresholds == EXACT
    assert parse(ExportModelConfig, [*NEEDED, "onnx", "--optimize", "O3"]).thresholds == APPROXIMATE
    assert parse(ExportModelConfig, [*NEEDED, "onnx", "--quantize", "avx2"]).thresholds == INT8
    given = parse(ExportModelConfig, [*NEEDED, "onnx", "--min-cosine", "0.5", "--max-difference", "2"]).thresholds
    assert (given.cosine, given.difference, given.mean_cosine) == (0.5, 2.0, EXACT.mean_cosine)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("openvino", "--optimize", "O2"), "--optimize O2 is of --backend onnx"),
        (("openvino", "--quantize", "avx2"), "--backend openvino has no --quantize avx2"),
        (("onnx", "--quantize", "static"), "--backend onnx has no --quantize static"),
        (("onnx", "--optimize", "O4", "--quantize", "avx2"), "--optimize O4 is float16"),
        (("openvino", "--quantize", "static"), "--quantize static needs texts"),
        (("onnx", "--calibration", "x"), "--calibration is for --quantize static"),
        (("onnx", "--min-cosine", "2"), "--min-cosine 2 must be between -1 and 1"),
        (("onnx", "--max-difference", "-1"), "--max-difference -1 must be 0 or more"),
        (("onnx", "--check-rows", "0"), "--check-rows 0 must be 1 or more"),
    ],
)
def test_flags_that_make_no_sense(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(ExportModelConfig, [*NEEDED, *flags])


def test_a_graph_is_held_to_less() -> None:
    encode = ["--input", "x", "--model", "m", "--output", "o"]
    assert parse(EncodeConfig, encode).least_agreement("min_cosine", 0.999) == 0.999
    graph = [*encode, "--file-name", "model_O3.onnx"]
    assert parse(EncodeConfig, graph).least_agreement("min_cosine", 0.999) == 0.95
    assert parse(EncodeConfig, [*graph, "--min-cosine", "0.5"]).least_agreement("min_cosine", 0.999) == 0.5
    with pytest.raises(ConfigError, match="--file-name names a graph"):
        parse(EncodeConfig, [*graph, "--backend", "torch"])
