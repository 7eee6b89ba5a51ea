"""Jobs that run an exported graph on a real Ray: torch's results, a graph that is named, and no other to go on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_ray import BiEncoder, CrossEncoder
from st_ray.core.errors import OutputError
from st_ray.export.graphs import Recipe, make_graph
from st_ray.models.folder import ModelFolder, read_model_folder
from st_ray.models.options import LoadOptions
from st_ray.models.pair_folder import read_pair_folder
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig
from st_ray.runtime.evaluation.cross_encoder import evaluate_cross_encoder
from st_ray.runtime.export.config import ExportModelConfig
from st_ray.runtime.export.job import export_model
from st_ray.runtime.result import JobResult
from st_ray.store.embeddings import embedding_array
from tests.models.tiny_models import save_tiny_classifier, save_tiny_model
from tests.ray.corpora import table_of, texts_of, write_jsonl

pytestmark = pytest.mark.usefixtures("local_ray")
TEXTS = ["", "a", "word " * 500, "🙂 emoji", *texts_of(30)]
PAIRS = [(f"what of {number % 7}", text) for number, text in enumerate(texts_of(30))]


def exported(folder: ModelFolder, *recipes: Recipe) -> list[str]:
    for recipe in recipes:
        make_graph(recipe, folder, LoadOptions("cpu"), folder.path / recipe.name)
    return [recipe.name for recipe in recipes]


def test_encode(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", pooling=("mean", "cls"), dense=12)
    graph, other = exported(read_model_folder(model), Recipe("openvino"), Recipe("openvino", suffix="other"))
    source, out = write_jsonl(tmp_path / "c.jsonl", TEXTS), tmp_path / "out"

    def encoded(file_name: str) -> JobResult:
        how: dict[str, Any] = {"id_column": "id", "shard_rows": 8, "actors": "1", "cpus_per_actor": 1.0}
        how |= {"backend": "openvino", "dtype": "float32", "file_name": file_name}
        return encode(EncodeConfig(input=(source,), model=str(model), output=str(out), **how))

    manifest = encoded(graph).manifest
    np.testing.assert_allclose(
        embedding_array(table_of(out)["embedding"]), BiEncoder(model, device="cpu").encode(TEXTS), atol=5e-5
    )
    assert manifest.lineage["backend"] == "openvino"
    assert manifest.lineage["graph"].startswith("openvino_model.xml ")
    whole = (out / "manifest.json").read_bytes()
    (out / "manifest.json").unlink()  # as if cut short
    with pytest.raises(
        OutputError, match=r"graph: 'openvino_model\.xml \w+' before, 'openvino_model_other\.xml \w+' now"
    ):
        encoded(other)
    # Of the same name, with other weights.
    weights = (model / graph).with_suffix(".bin")
    before = weights.read_bytes()
    weights.write_bytes(before[::-1])
    with pytest.raises(OutputError, match=r"graph: 'openvino_model\.xml \w+' before, 'openvino_model\.xml \w+' now"):
        encoded(graph)
    weights.write_bytes(before)
    (out / "manifest.json").write_bytes(whole)
    assert encoded(graph).already_complete


@pytest.mark.slow
def test_encode_with_an_export_on_an_object_store(tmp_path: Path, s3: str) -> None:
    model, place = save_tiny_model(tmp_path / "model"), f"{s3}/{tmp_path.name}/exported"
    export_model(ExportModelConfig(model=str(model), output=place, backend="openvino"))
    source, out = write_jsonl(tmp_path / "c.jsonl", TEXTS), str(tmp_path / "out")
    how: dict[str, Any] = {"id_column": "id", "actors": "1", "cpus_per_actor": 1.0}
    how |= {"backend": "auto", "dtype": "float32", "file_name": "openvino_model.xml"}
    manifest = encode(EncodeConfig(input=(source,), model=place, output=out, **how)).manifest
    expected = BiEncoder(model, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(embedding_array(table_of(out)["embedding"]), expected, atol=5e-5)
    assert manifest.lineage["graph"].startswith("openvino_model.xml ")


def test_evaluate_cross_encoder(tmp_path: Path) -> None:
    model = save_tiny_classifier(tmp_path / "model")
    graph, other = exported(read_pair_folder(model).model, Recipe("onnx"), Recipe("onnx", flavour="avx2"))
    rows = ({"a": first, "b": second, "gold": number % 5} for number, (first, second) in enumerate(PAIRS))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"

    def evaluated(file_name: str) -> JobResult:
        how: dict[str, Any] = {"text_columns": ("a", "b"), "label_column": "gold", "shard_rows": 16, "bootstrap": 20}
        how |= {"actors": "1", "cpus_per_actor": 1.0, "backend": "auto", "dtype": "float32", "file_name": file_name}
        data, output = (str(tmp_path / "pairs.jsonl"),), str(out)
        config = EvaluateCrossEncoderConfig(
            evaluator="correlation", data=data, cross_encoder=str(model), output=output, **how
        )
        return evaluate_cross_encoder(config)

    manifest = evaluated(Path(graph).name).manifest
    found = table_of(out / "scores")["score"].to_numpy()
    np.testing.assert_allclose(found, CrossEncoder(model, device="cpu").predict(PAIRS), atol=1e-5)
    assert manifest.about["graph"].startswith("model.onnx ")
    (out / "manifest.json").unlink()
    with pytest.raises(OutputError, match=r"graph: 'model\.onnx \w+' before, 'model_quint8_avx2\.onnx \w+' now"):
        evaluated(other)
