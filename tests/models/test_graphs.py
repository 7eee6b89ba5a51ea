"""Exported graphs in ONNX Runtime and OpenVINO: torch's embeddings and logits; errors that say what does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from st_ray.core.errors import ConfigError, ModelError
from st_ray.export.graphs import Recipe, make_graph
from st_ray.models import openvino_backend
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.cross_encoder import CrossEncoder
from st_ray.models.folder import ModelFolder, read_model_folder
from st_ray.models.graph_files import find_graph, graph_digest, graph_name
from st_ray.models.openvino_graph import written_out
from st_ray.models.options import LoadOptions
from st_ray.models.pair_folder import read_pair_folder
from st_ray.scoring.agreement import cosines
from tests.models.test_openvino import VARIANTS
from tests.models.tiny_models import TEXTS, save_tiny_classifier, save_tiny_model, save_tiny_static

PAIRS = [(one, other) for one in TEXTS[:5] for other in TEXTS[:3] if one.strip() and other.strip()]
BACKENDS = ("onnx", "openvino")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path / "cache"))


def exported(folder: ModelFolder, backend: str) -> str:
    name = graph_name(backend)
    make_graph(Recipe(backend), folder, LoadOptions("cpu"), folder.path / name)
    return Path(name).name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_embeddings_are_those_of_torch(name: str, backend: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", **VARIANTS[name])
    options: dict[str, Any] = {"prompt_name": "query"} if "prompts" in VARIANTS[name] else {}
    expected = BiEncoder(folder, device="cpu").encode(TEXTS, **options)
    file_name = exported(read_model_folder(folder), backend)
    encoder = BiEncoder(folder, backend=backend, file_name=file_name)
    for batch_tokens in (None, 40):
        found = encoder.encode(TEXTS, batch_tokens=batch_tokens, **options)
        np.testing.assert_allclose(found, expected, atol=5e-5)
        assert cosines(found, expected).min() > 0.999999
    assert encoder.encode([]).shape == (0, encoder.dimension)
    short = encoder.encode(TEXTS, truncate_dim=8, normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(short, axis=1)[:2], 1.0, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("architecture", "labels"), [("bert", 1), ("roberta", 3), ("distilbert", 1)])
def test_logits_are_those_of_torch(architecture: str, labels: int, backend: str, tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "model", architecture, labels)
    expected = CrossEncoder(folder, device="cpu").predict(PAIRS)
    file_name = exported(read_pair_folder(folder).model, backend)
    found = CrossEncoder(folder, backend=backend, file_name=file_name).predict(PAIRS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_a_name_onnx_converts_the_weights_once(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    expected = BiEncoder(folder, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(BiEncoder(folder, backend="onnx").encode(TEXTS), expected, atol=2e-5)
    [kept] = (path for path in (tmp_path / "cache" / "onnx").iterdir() if not path.name.startswith("."))
    before = (kept / "model.onnx").stat().st_mtime_ns
    BiEncoder(folder, backend="onnx")
    assert (kept / "model.onnx").stat().st_mtime_ns == before
    assert not (folder / "onnx").exists()


def test_attention_in_onnx_is_written_out(tmp_path: Path) -> None:
    import onnx

    folder = save_tiny_model(tmp_path / "model")
    exported(read_model_folder(folder), "onnx")
    operations = [node.op_type for node in onnx.load(folder / graph_name("onnx")).graph.node]
    assert "IsNaN" not in operations
    assert operations.count("Softmax") == 2


def test_an_exported_openvino_graph_is_joined_once(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", dense=24)
    name = exported(read_model_folder(folder), "openvino")
    for _ in range(2):
        assert BiEncoder(folder, backend="openvino", file_name=name).dimension == 24
    (kept,) = (path for path in (tmp_path / "cache" / "openvino").iterdir() if not path.name.startswith("."))
    inputs = openvino.Core().read_model(kept / "model.xml").inputs
    assert [port.get_node().friendly_name for port in inputs] == ["ids", "lengths"]


@pytest.mark.parametrize(("architecture", "written"), [("bert", True), ("roberta", True), ("t5", False)])
def test_attention_of_an_exported_openvino_graph_is_written_out(
    architecture: str, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_backend, "_WORTH_A_COPY", 100)
    folder = save_tiny_model(tmp_path / "model", architecture=architecture)
    name = exported(read_model_folder(folder), "openvino")
    encoder = BiEncoder(folder, backend="openvino", file_name=name)
    assert encoder._backend._facts.masks_padding_only == written  # type: ignore[attr-defined]
    found = encoder.encode(TEXTS * 9, batch_tokens=40)
    np.testing.assert_allclose(found, BiEncoder(folder, device="cpu").encode(TEXTS * 9), atol=5e-5)


def attention(shape: list[int], mask: list[int] | None = None, *, causal: bool = False) -> openvino.Model:
    inputs = [ops.parameter(shape, np.float32) for _ in range(3)]
    inputs += [] if mask is None else [ops.parameter(mask, np.float32)]
    found = ops.scaled_dot_product_attention(*inputs, causal=causal)
    return openvino.Model([found], inputs)


@pytest.mark.parametrize(
    ("graph", "remain"),
    [
        (attention([-1, 2, -1, 4], [-1, 1, -1, -1]), 0),
        (attention([-1, 2, -1, 4]), 0),
        (attention([-1, -1, 4]), 1),
        (attention([-1, 2, -1, 4], [-1, -1]), 1),
        (attention([-1, 2, -1, -1]), 1),
        (attention([-1, 2, -1, 4], causal=True), 1),
    ],
)
def test_attention_of_another_form_is_left(graph: openvino.Model, remain: int) -> None:
    kinds = [node.get_type_name() for node in written_out(graph, masked=True).get_ops()]
    assert kinds.count("ScaledDotProductAttention") == remain


def test_the_name_tells_the_backend(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    names = [exported(read_model_folder(folder), backend) for backend in BACKENDS]
    one, other = (BiEncoder(folder, backend="auto", file_name=name).encode(TEXTS) for name in names)
    np.testing.assert_allclose(one, other, atol=2e-5)
    assert names == ["model.onnx", "openvino_model.xml"]
    assert find_graph(folder, "onnx", "onnx/model.onnx") == find_graph(folder, "onnx", "model.onnx")
    with pytest.raises(ConfigError, match=r"no graph 'model.onnx' for the backend openvino \(there is openvino/openv"):
        BiEncoder(folder, backend="openvino", file_name="model.onnx")
    with pytest.raises(ConfigError, match=r"no graph 'model_O9.onnx' .*\(there is onnx/model.onnx\)"):
        BiEncoder(folder, backend="onnx", file_name="model_O9.onnx")
    with pytest.raises(ConfigError, match=r"model.onnx is no graph for the backend torch"):
        BiEncoder(folder, file_name="model.onnx")
    outside = shutil.copy(folder / "onnx" / "model.onnx", tmp_path / "other.onnx")
    with pytest.raises(ConfigError, match="no graph"):
        BiEncoder(folder, backend="onnx", file_name=f"../{Path(outside).name}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_folder_with_a_graph_alone(backend: str, tmp_path: Path) -> None:
    # Sentence Transformers saves a model of these backends so.
    folder = save_tiny_model(tmp_path / "model", dense=24)
    expected = BiEncoder(folder, device="cpu").encode(TEXTS)
    name = exported(read_model_folder(folder), backend)
    (folder / "model.safetensors").unlink()
    np.testing.assert_allclose(BiEncoder(folder, backend=backend, file_name=name).encode(TEXTS), expected, atol=5e-5)
    with pytest.raises(ModelError, match="holds no weights"):
        BiEncoder(folder, device="cpu")


def test_digest_is_of_all_files(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    exported(read_model_folder(folder), "openvino")
    path = find_graph(folder, "openvino", "openvino_model.xml")
    before = graph_digest(path)
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert graph_digest(path) != before


@pytest.mark.parametrize("backend", BACKENDS)
def test_damaged_graphs_and_those_of_another_model(backend: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    name = exported(read_model_folder(folder), backend)
    path = find_graph(folder, backend, name)
    classifier = save_tiny_classifier(tmp_path / "classifier")
    (classifier / backend).mkdir()
    for file in path.parent.iterdir():
        shutil.copy(file, classifier / backend)
    with pytest.raises(ModelError, match=r"gives 32 numbers for a pair, and the model has 1 labels"):
        CrossEncoder(classifier, backend=backend, file_name=name)
    path.write_bytes(b"no graph")
    with pytest.raises(ModelError, match=rf"cannot load .*{name}"):
        BiEncoder(folder, backend=backend, file_name=name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_graph_cannot_be(backend: str, tmp_path: Path) -> None:
    static = save_tiny_static(tmp_path / "static")
    with pytest.raises(ConfigError, match="is a table of embeddings, nothing for"):
        BiEncoder(static, backend=backend)
    with pytest.raises(ModelError, match="is a table of embeddings, of which there is no graph"):
        make_graph(Recipe(backend), read_model_folder(static), LoadOptions("cpu"), tmp_path / graph_name(backend))
    folder = save_tiny_model(tmp_path / "model")
    with pytest.raises(ConfigError, match="runs on CPUs, not on 'cuda'"):
        BiEncoder(folder, backend=backend, device="cuda")
    wrong = "bfloat16" if backend == "onnx" else "float16"
    with pytest.raises(ConfigError, match=f"does not compute in {wrong} on CPUs"):
        BiEncoder(folder, backend=backend, dtype=wrong)


def test_a_backend_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.models.backend.is_installed", lambda name: name != "onnxruntime")
    with pytest.raises(ConfigError, match=r"onnx is not installed[\s\S]*st-ray\[onnx\]"):
        BiEncoder(save_tiny_model(tmp_path / "model"), backend="onnx")
