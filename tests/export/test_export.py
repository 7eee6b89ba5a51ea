"""Exports by the job and by the functions: what is written where, how it agrees, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import openvino
import pytest

from st_ray.core.errors import ConfigError, InputError, ModelError, OutputError
from st_ray.export import functions
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.cross_encoder import CrossEncoder
from st_ray.models.folder import read_model_folder
from st_ray.models.graph_files import graph_name
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.export.config import ExportModelConfig
from st_ray.runtime.export.job import export_model
from st_ray.runtime.export.output import mirror, publish
from st_ray.runtime.export.summary import export_summary
from st_ray.runtime.export.texts import own_pairs, own_sentences
from st_ray.scoring.agreement import cosines
from st_ray.store import fs
from tests.models.tiny_models import save_tiny_classifier, save_tiny_model

WORDS = ["the", "cat", "sat", "a", "dog", "ran", "hello", "world", "query", "dogs"]
TEXTS = [" ".join(WORDS[(row * step) % len(WORDS)] for step in range(1, 3 + row % 9)) for row in range(60)]


def attention_sources(graph: openvino.Model) -> list[str]:
    """Operations that queries, keys and values of attention come from, but for those that bring them into place."""
    found = []
    for attention in (node for node in graph.get_ops() if node.get_type_name() == "ScaledDotProductAttention"):
        for node in (attention.input_value(place).get_node() for place in range(3)):
            while node.get_type_name() in ("Transpose", "Reshape"):
                node = node.input_value(0).get_node()
            found.append(node.get_type_name())
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model", normalize=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    rows = ({"text": text, "other": TEXTS[row - 1]} for row, text in enumerate(TEXTS))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config_of(model: Path, backend: Any = "onnx", **more: Any) -> ExportModelConfig:
    settings = {"for_other_cpu": True, **more}
    return ExportModelConfig(model=str(model), output=str(model.parent / "out"), backend=backend, **settings)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({}, "onnx/model.onnx"),
        pytest.param({"optimize": "O1"}, "onnx/model_O1.onnx", marks=pytest.mark.slow),
        ({"optimize": "O2"}, "onnx/model_O2.onnx"),
        pytest.param({"optimize": "O3"}, "onnx/model_O3.onnx", marks=pytest.mark.slow),
        ({"optimize": "O4"}, "onnx/model_O4.onnx"),
        ({"quantize": "avx512_vnni"}, "onnx/model_qint8_avx512_vnni.onnx"),
        pytest.param({"quantize": "avx512"}, "onnx/model_qint8_avx512.onnx", marks=pytest.mark.slow),
        ({"quantize": "avx2"}, "onnx/model_quint8_avx2.onnx"),
        pytest.param({"quantize": "arm64"}, "onnx/model_qint8_arm64.onnx", marks=pytest.mark.slow),
        ({"file_suffix": "mine"}, "onnx/model_mine.onnx"),
        ({"backend": "openvino"}, "openvino/openvino_model.xml"),
        ({"backend": "openvino", "quantize": "static"}, "openvino/openvino_model_qint8_quantized.xml"),
    ],
)
def test_the_graph_lies_where_sentence_transformers_has_it(
    flags: dict[str, Any], name: str, model: Path, data: Path
) -> None:
    if flags.get("quantize") == "static":
        flags = {**flags, "calibration": (str(data),), "text_columns": ("text",), "calibration_rows": 20}
    config = config_of(model, check_data=(str(data),), **{"text_columns": ("text",), **flags})
    result = export_model(config)
    out = Path(result.folder)
    graph = {name, name.replace(".xml", ".bin")}
    assert files_of(out) - files_of(model) == graph | {"README.md", "manifest.json", "run.json", "training/export.html"}
    assert all((out / file).read_bytes() == (model / file).read_bytes() for file in files_of(model))
    assert model_digest(out) == model_digest(model)
    expected = BiEncoder(model, device="cpu").encode(TEXTS)
    found = BiEncoder(out, backend=name.partition("/")[0], file_name=Path(name).name).encode(TEXTS)
    agreement = cosines(found, expected)
    assert agreement.min() > (0.9 if "quantize" in flags else 0.999)
    about = result.manifest.about
    assert about["graph"] == name and about["agreement"]["texts"] == 60
    assert f"--file-name {Path(name).name}" in export_summary(result)
    assert f"## Exported graph: {name}" in (out / "README.md").read_text()
    assert "<svg" in (out / "training" / "export.html").read_text()
    assert export_model(config).already_complete


def test_a_second_graph_beside_the_first(model: Path) -> None:
    first = export_model(config_of(model))
    again = ExportModelConfig(model=first.folder, output=str(model.parent / "both"), backend="onnx", optimize="O1")
    both = Path(export_model(again).folder)
    assert {"onnx/model.onnx", "onnx/model_O1.onnx"} <= files_of(both)
    card = (both / "README.md").read_text()
    assert card.count("## Exported graph: onnx/model.onnx") == card.count("## Exported graph: onnx/model_O1.onnx") == 1
    with pytest.raises(OutputError, match="optimize: None before, 'O1' now"):
        export_model(config_of(model, optimize="O1"))
    other = export_model(config_of(model, optimize="O1", overwrite=True))
    assert not (Path(other.folder) / "onnx" / "model.onnx").exists()


def test_a_graph_of_this_name_in_the_model_stays_as_it_is(model: Path) -> None:
    (model / "openvino").mkdir()
    earlier = [model / "openvino" / f"openvino_model.{ending}" for ending in ("xml", "bin")]
    for file in earlier:
        file.write_bytes(b"earlier")
    out = Path(export_model(config_of(model, "openvino")).folder)
    for file in earlier:
        assert file.read_bytes() == b"earlier" != (out / file.relative_to(model)).read_bytes()


def test_an_object_store(model: Path, data: Path, s3: str) -> None:
    texts = {"check_data": (str(data),), "text_columns": ("text",)}
    config = dataclasses.replace(config_of(model, **texts), output=f"{s3}/{model.parent.name}/out")
    with pytest.raises(ModelError, match="does not compute what torch does"):
        export_model(dataclasses.replace(config, quantize="avx2", min_cosine=0.9999999))
    assert not fs.exists(config.output)
    result = export_model(config)
    assert export_model(config).already_complete
    store, root = fs.open_fs(config.output)
    written = {PurePosixPath(path).relative_to(root).as_posix() for path in store.find(root)}
    local = export_model(config_of(model, **texts))
    assert written == files_of(Path(local.folder))
    assert f"--model {config.output} --file-name model.onnx" in export_summary(result)
    found = BiEncoder(config.output, backend="onnx", file_name="model.onnx").encode(TEXTS)
    np.testing.assert_allclose(found, BiEncoder(model, device="cpu").encode(TEXTS), atol=5e-5)


@pytest.mark.parametrize("pairs", [False, True])
def test_nothing_opens_what_is_not_yet_whole(
    pairs: bool, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny_classifier(tmp_path / "model") if pairs else save_tiny_model(tmp_path / "model", dense=8)
    read: Any = read_pair_folder if pairs else read_model_folder
    write, place = fs.write_atomic, f"{s3}/{tmp_path.name}/out"

    def write_then_try(url: str, data: bytes) -> None:
        with pytest.raises(ModelError):
            read(resolve_model(place))
        write(url, data)

    monkeypatch.setattr(fs, "write_atomic", write_then_try)
    publish(mirror(model, tmp_path / "mirror"), place)
    read(resolve_model(place))
    assert model_digest(resolve_model(place)) == model_digest(model)


def test_a_cross_encoder(tmp_path: Path, data: Path) -> None:
    model = save_tiny_classifier(tmp_path / "model")
    pairs = list(itertools.pairwise(TEXTS))
    expected = CrossEncoder(model, device="cpu").predict(pairs)
    config = config_of(
        model,
        "openvino",
        quantize="static",
        calibration=(str(data),),
        text_columns=("text", "other"),
        min_correlation=0,
    )
    out = export_model(config).folder
    name = "openvino_model_qint8_quantized.xml"
    found = CrossEncoder(out, backend="openvino", file_name=name).predict(pairs)
    assert np.corrcoef(found, expected)[0, 1] > 0.9
    sources = attention_sources(openvino.Core().read_model(Path(out, "openvino", name)))
    assert sources and "FakeQuantize" not in sources
    with pytest.raises(ConfigError, match=r"takes pairs of texts[\s\S]*--text-columns a,b"):
        export_model(config_of(model, check_data=(str(data),), overwrite=True))


def test_a_graph_that_does_not_agree_is_not_written(model: Path, data: Path) -> None:
    config = config_of(model, quantize="avx2", min_cosine=0.9999999, check_data=(str(data),), text_columns=("text",))
    with pytest.raises(ModelError, match=r"model_quint8_avx2.onnx does not compute what torch does: the least cosine"):
        export_model(config)
    assert not Path(config.output).exists()


def test_layers_that_onnx_runtime_knows_nothing_of(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", architecture="llama", pooling=("lasttoken",))
    with pytest.raises(ModelError, match=r"no fused operations for the llama model[\s\S]*use --optimize O1"):
        export_model(config_of(model, optimize="O2"))


def test_texts_that_are_none(model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    static = {"quantize": "static", "text_columns": ("text",)}
    with pytest.raises(InputError, match=r"empty\.jsonl"):
        export_model(config_of(model, "openvino", calibration=(str(empty),), **static))
    blank = tmp_path / "blank.jsonl"
    blank.write_text('{"text": " "}\n')
    with pytest.raises(InputError, match=r"blank\.jsonl has no text[\s\S]*texts like your own"):
        export_model(config_of(model, "openvino", calibration=(str(blank),), **static))


def test_packages_that_are_missing(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.export.openvino.is_installed", lambda name: name != "nncf")
    with pytest.raises(ConfigError, match=r"nncf, which is not installed[\s\S]*st-ray\[export\]"):
        export_model(config_of(model, "openvino", quantize="static", calibration=(str(data),), text_columns=("text",)))
    monkeypatch.setattr("st_ray.models.onnx_conversion.is_installed", lambda name: name != "onnx")
    with pytest.raises(ConfigError, match=r"not installed[\s\S]*st-ray\[onnx\]"):
        export_model(config_of(model))


def test_int8_products_that_this_cpu_lacks(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.export.graphs.cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    with pytest.raises(ConfigError, match=r"no avx512_vnni or avx_vnni[\s\S]*use avx512 or avx2 here"):
        export_model(config_of(model, quantize="avx512_vnni", for_other_cpu=False))


def test_sentences_of_python_itself() -> None:
    texts, pairs = own_sentences(100), own_pairs(100)
    assert len(texts) == len(set(texts)) == len(pairs) == 100
    assert own_sentences(100) == texts


def test_the_functions_write_what_the_job_writes(model: Path, tmp_path: Path) -> None:
    encoder, target = BiEncoder(model, device="cpu"), tmp_path / "target"
    functions.export_optimized_onnx_model(encoder, "O1", str(target))
    functions.export_dynamic_quantized_onnx_model(encoder, "avx512_vnni", str(target))
    functions.export_static_quantized_openvino_model(encoder, {"num_samples": 10}, str(target), texts=TEXTS)
    functions.export_optimized_onnx_model(encoder, "O1", target, file_suffix="x")
    openvino = graph_name("openvino", "qint8_quantized")
    assert files_of(target) == {
        "onnx/model_O1.onnx",
        "onnx/model_x.onnx",
        "onnx/model_qint8_avx512_vnni.onnx",
        openvino,
        openvino.replace(".xml", ".bin"),
    }
    for call in (
        lambda: functions.export_optimized_onnx_model(encoder, "O5", target),
        lambda: functions.export_dynamic_quantized_onnx_model(encoder, "sse", target),
        lambda: functions.export_optimized_onnx_model(encoder, object(), target),  # type: ignore[arg-type]
        lambda: functions.export_optimized_onnx_model(encoder, "O1", target, push_to_hub=True),
        lambda: functions.export_static_quantized_openvino_model(encoder, None, target, dataset_name="x"),
        lambda: functions.export_static_quantized_openvino_model(encoder, None, target, texts=[]),
        lambda: functions.export_static_quantized_openvino_model(encoder, {"no_such": 1}, target, texts=TEXTS),
    ):
        with pytest.raises(ConfigError):
            call()
