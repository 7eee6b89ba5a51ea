"""Each opens the other's graphs for OpenVINO, and gives the same; graphs for ONNX Runtime are as optimum expects."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from st_ray import BiEncoder, CrossEncoder
from st_ray.export.graphs import Recipe, make_graph
from st_ray.models.folder import read_model_folder
from st_ray.models.options import LoadOptions
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.source import resolve_model
from st_ray.runtime.export.config import ExportModelConfig
from st_ray.runtime.export.job import export_model
from st_ray.runtime.export.texts import own_sentences
from st_ray.scoring.agreement import cosines
from tests.conftest import ROOT
from tests.models.tiny_models import HIDDEN, save_tiny_classifier, save_tiny_model
from tests.parity.export_peer import GRAPHS
from tests.parity.folders import save_with_random_head

PEER = ROOT / ".peers" / "sentence-transformers-6.2.0-openvino"
TEXTS = own_sentences(60)
PAIRS = list(itertools.pairwise(TEXTS))


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Path:
    """The folders and results that `export_peer` tells of, of all-MiniLM-L6-v2 and of it with a random head."""
    if not (PEER / ".ready").exists():
        pytest.skip(f"the peer's environment for OpenVINO is absent ({PEER}); run `make peer-export`")
    place = tmp_path_factory.mktemp("exchanged")
    (place / "base").symlink_to(resolve_model(minilm))
    save_with_random_head(place / "base", place / "base-pairs")
    (place / "inputs.json").write_text(json.dumps({"texts": TEXTS, "pairs": PAIRS}), encoding="utf-8")
    (place / "texts").mkdir()
    texts = place / "texts" / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    for name in GRAPHS:
        model, output = place / ("base-pairs" if name == "pairs" else "base"), place / "ours" / name
        config = ExportModelConfig(model=str(model), output=str(output), backend="openvino")
        if name == "int8":
            quantize: dict[str, Any] = {"quantize": "static", "calibration": (str(texts),), "text_columns": ("text",)}
            config = dataclasses.replace(config, **quantize, calibration_rows=20)
        export_model(config)
    command = [str(PEER / "bin" / "python"), "-m", "tests.parity.export_peer", str(place)]
    environment = {**os.environ, "HF_HOME": str(place / "hub"), "TQDM_DISABLE": "1"}
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    return place


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("side", ["ours", "theirs"])
@pytest.mark.parametrize("name", GRAPHS)
def test_openvino_gives_the_same_to_both(name: str, side: str, exchanged: Path) -> None:
    folder, how = exchanged / side / name, {"backend": "openvino", "file_name": GRAPHS[name]}
    if name == "pairs":
        found = CrossEncoder(folder, **how).predict(PAIRS)
        exact = CrossEncoder(exchanged / "base-pairs", device="cpu").predict(PAIRS)
    else:
        found = BiEncoder(folder, **how).encode(TEXTS)
        exact = BiEncoder(exchanged / "base", device="cpu").encode(TEXTS)
    assert exact.std() > 1e-3
    expected = np.load(exchanged / side / f"{name}.npy")
    if name == "int8":
        # What lies between two of its steps can be rounded otherwise in a batch of another shape.
        assert cosines(found, expected).min() > 0.999
        assert np.abs(found - exact).max() > 1e-2 and cosines(found, exact).mean() > 0.98
    else:
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(found, exact, atol=1e-5)


# The peer's backend for ONNX Runtime cannot be installed beside its present release.
@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe("onnx"), "onnx/model.onnx"),
        (Recipe("onnx", level="O2"), "onnx/model_O2.onnx"),
        (Recipe("onnx", level="O4"), "onnx/model_O4.onnx"),
        (Recipe("onnx", flavour="avx512_vnni"), "onnx/model_qint8_avx512_vnni.onnx"),
    ],
)
@pytest.mark.parametrize("pairs", [False, True])
def test_onnx_graphs_are_as_optimum_expects(recipe: Recipe, name: str, pairs: bool, tmp_path: Path) -> None:
    """It feeds inputs by name, takes the output by name, and on GPUs sizes the output by the axes of the inputs."""
    folder = tmp_path / "model"
    read = read_pair_folder(save_tiny_classifier(folder)).model if pairs else read_model_folder(save_tiny_model(folder))
    make_graph(recipe, read, LoadOptions("cpu"), folder / recipe.name)
    assert recipe.name == name
    session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    assert {one.name for one in inputs} == {"input_ids", "attention_mask", "token_type_ids"}
    assert {(one.type, *one.shape) for one in inputs} == {("tensor(int64)", "rows", "length")}
    (output,) = session.get_outputs()
    assert (output.name, output.type) == ("logits" if pairs else "last_hidden_state", "tensor(float)")
    assert output.shape == (["rows", 1] if pairs else ["rows", "length", HIDDEN])
