"""Which backend and dtype: the flags first, then what was begun, then the hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.folder import ModelFolder, read_model_folder
from st_ray.models.graph_files import graph_digest
from st_ray.runtime import compute
from st_ray.runtime.compute import Compute, begun_compute, choose_compute
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.model import inspect_model
from st_ray.runtime.resources import Node
from tests.models.tiny_models import save_tiny_model, save_tiny_static

CPUS = [Node(8, 0)]


def config(**flags: Any) -> EncodeConfig:
    return EncodeConfig(input=("c.jsonl",), model="m", output="o", **flags)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return read_model_folder(save_tiny_model(tmp_path_factory.mktemp("compute") / "model"))


def test_what_was_begun_fills_in_for_auto(folder: ModelFolder) -> None:
    begun = {"backend": "torch", "dtype": "float16", "prompt": ""}
    assert begun_compute(config(), folder, begun) == Compute("torch", "float16")
    assert begun_compute(config(dtype="float32"), folder, begun) == Compute("torch", "float32")
    assert begun_compute(config(dtype="float32"), folder, None) is None
    assert begun_compute(config(dtype="float32", backend="openvino"), folder, None) == Compute("openvino", "float32")


@pytest.mark.parametrize(("has", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_cpus(has: bool, dtype: str, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "cpu_has_bfloat16", lambda: has)
    assert choose_compute(config(), folder, False, CPUS) == Compute("openvino", dtype)
    assert choose_compute(config(backend="torch"), folder, False, CPUS) == Compute("torch", dtype)
    monkeypatch.setattr("st_ray.models.backend.is_installed", lambda name: name != "openvino")
    assert choose_compute(config(), folder, False, CPUS) == Compute("torch", dtype)
    with pytest.raises(ConfigError, match=r"openvino is not installed[\s\S]*st-ray\[cpu\]"):
        choose_compute(config(backend="openvino"), folder, False, CPUS)


@pytest.mark.parametrize(("kind", "dtype"), [("A10G", "bfloat16"), ("T4", "float16"), ("", "bfloat16")])
def test_gpus(kind: str, dtype: str, folder: ModelFolder) -> None:
    nodes = [Node(8, 0), Node(8, 1, accelerator=kind)]
    assert choose_compute(config(), folder, True, nodes) == Compute("torch", dtype)
    assert choose_compute(config(dtype="float32"), folder, True, nodes) == Compute("torch", "float32")
    with pytest.raises(ConfigError, match="runs on CPUs, and the actors have GPUs"):
        choose_compute(config(backend="openvino"), folder, True, nodes)


def test_a_static_table_is_looked_up_in_float32(tmp_path: Path) -> None:
    static = read_model_folder(save_tiny_static(tmp_path / "static"))
    assert choose_compute(config(), static, False, CPUS) == Compute("torch", "float32")


def test_an_exported_graph(folder: ModelFolder) -> None:
    graph = folder.path / "onnx" / "model_x.onnx"
    graph.parent.mkdir(exist_ok=True)
    graph.write_bytes(b"a graph")
    found = choose_compute(config(file_name="model_x.onnx"), folder, False, CPUS)
    assert (found.backend, found.dtype, found.file_name) == ("onnx", "float32", "model_x.onnx")
    assert found.file_digest == graph_digest(graph) and not found.exact and found.reference.exact
    assert str(found) == "onnx in float32, model_x.onnx"
    with pytest.raises(ConfigError, match="onnx runs on CPUs, and the actors have GPUs"):
        choose_compute(config(file_name="model_x.onnx"), folder, True, CPUS)
    with pytest.raises(ConfigError, match=r"no graph 'model_y.onnx'"):
        choose_compute(config(file_name="model_y.onnx"), folder, False, CPUS)
    assert choose_compute(config(backend="onnx"), folder, False, CPUS) == Compute("onnx", "float32")


def test_a_graph_without_weights_is_compared_with_itself(tmp_path: Path) -> None:
    path = save_tiny_model(tmp_path / "model", dense=12)
    graph = path / "openvino" / "openvino_model.xml"
    graph.parent.mkdir()
    graph.write_text("a graph")
    (path / "model.safetensors").unlink()
    flags: dict[str, Any] = {"model": str(path), "file_name": graph.name, "input": ("c",), "output": "o"}
    facts = inspect_model(EncodeConfig(**flags))
    assert facts.folder is not None
    half = choose_compute(EncodeConfig(dtype="bfloat16", **flags), facts.folder, False, [Node(2, 0)])
    assert not half.exact
    assert half.reference == Compute("openvino", "float32", graph.name, graph_digest(graph), alone=True)
    assert half.reference.exact
    with pytest.raises(ModelError, match="holds no weights"):
        inspect_model(EncodeConfig(**flags | {"file_name": None}))
    (path / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="2_Dense holds no weights"):
        inspect_model(EncodeConfig(**flags))
