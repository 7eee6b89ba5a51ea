"""The encode job with real, tiny models: what it stores is what the model gives in memory; damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from st_ray.core.environment import cpu_has_bfloat16
from st_ray.core.errors import ConfigError, ModelError, OutputError, ShardError
from st_ray.models.bi_encoder import BiEncoder
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.scoring.agreement import cosines
from st_ray.scoring.quantization import quantize_embeddings
from st_ray.store.embeddings import embedding_array
from tests.models.tiny_models import read_json, save_tiny_model, write_json
from tests.ray.corpora import table_of, texts_of, write_jsonl

pytestmark = pytest.mark.usefixtures("local_ray")
TEXTS = ["", "a", "word " * 500, "🙂 emoji", "שלום", "a\x00b", *texts_of(30)]


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_jsonl(tmp_path / "c.jsonl", TEXTS)


def config_for(source: str, model: Path | str, output: Path, **changes: Any) -> EncodeConfig:
    settings = {"id_column": "id", "text_columns": ("text",), "shard_rows": 8, "cpus_per_actor": 1.0, "actors": "1"}
    settings |= {"backend": "torch", "dtype": "float32"}
    return EncodeConfig(input=(source,), model=str(model), output=str(output), **{**settings, **changes})


def test_the_store_holds_what_the_model_gives(source: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", pooling=("mean", "cls"), dense=12, prompts={"query": "find: "})
    for name, changes, in_memory in [
        ("plain", {}, {}),
        ("prompt", {"prompt_name": "query", "normalize": True}, {"prompt_name": "query", "normalize_embeddings": True}),
        ("cut", {"truncate_dim": 5, "max_seq_length": 9}, {}),
    ]:
        out = tmp_path / name
        encode(config_for(source, model, out, **changes))
        encoder = BiEncoder(
            model, truncate_dim=changes.get("truncate_dim"), max_seq_length=changes.get("max_seq_length")
        )
        found = embedding_array(table_of(out)["embedding"])
        np.testing.assert_allclose(found, encoder.encode(TEXTS, **in_memory), atol=1e-5)


@pytest.mark.slow
def test_a_model_on_an_object_store(source: str, tmp_path: Path, s3: str) -> None:
    model = save_tiny_model(tmp_path / "model")
    place = f"{s3}/{tmp_path.name}/model"
    fsspec.filesystem("s3", use_listings_cache=False).put(str(model), place, recursive=True)
    encode(config_for(source, place, tmp_path / "out"))
    found = embedding_array(table_of(tmp_path / "out")["embedding"])
    np.testing.assert_allclose(found, BiEncoder(model).encode(TEXTS), atol=1e-5)


def test_the_same_model_elsewhere_is_the_same_and_other_weights_are_not(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encode(config_for(source, save_tiny_model(tmp_path / "one"), out))
    assert encode(config_for(source, save_tiny_model(tmp_path / "two"), out)).already_complete
    with pytest.raises(Exception, match=r"(?m)^ +model: "):
        encode(config_for(source, save_tiny_model(tmp_path / "three", seed=1), out))


def test_an_unknown_module_is_named(source: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    modules = read_json(model / "modules.json")
    modules[1]["type"] = "my_package.Telepathy"
    write_json(model / "modules.json", modules)
    with pytest.raises(ModelError, match=r"my_package\.Telepathy"):
        encode(config_for(source, model, tmp_path / "out"))


def test_truncated_weights_are_named(source: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        encode(config_for(source, model, tmp_path / "out"))
    assert not (tmp_path / "out" / "run.json").exists()


def test_an_unknown_prompt_is_named(source: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", prompts={"query": "find: "})
    with pytest.raises(ConfigError, match=r"poem[\s\S]*query"):
        encode(config_for(source, model, tmp_path / "out", prompt_name="poem"))


def test_an_embedding_that_is_not_finite_fails_its_shard_by_row(source: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    model = save_tiny_model(tmp_path / "model")
    tokens = BiEncoder(model).tokenizer.tokenize(TEXTS)
    texts = np.repeat(np.arange(len(TEXTS)), tokens.lengths)
    victim = next(t for t in np.unique(tokens.flat) if len(set(texts[tokens.flat == t])) == 1)
    row = int(texts[tokens.flat == victim][0])
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][victim] = np.inf
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ShardError, match=rf"part-0000{row // 8}\.parquet \(.*\): .*row {row} \(id 'id-{row}'\) is not finite"
    ):
        encode(config_for(source, model, tmp_path / "out"))
    assert len(list((tmp_path / "out" / "commits").iterdir())) == 4


def test_a_model_of_nothing_but_nan_is_one_message(source: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    model = save_tiny_model(tmp_path / "model")
    weights = {name: np.full_like(tensor, np.nan) for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ShardError, match=r"5 of 5 shards are not done") as error:
        encode(config_for(source, model, tmp_path / "out"))
    assert error.value.message.count("not finite") == 1


@pytest.mark.slow
def test_every_backend_and_dtype(source: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    expected = BiEncoder(model).encode(TEXTS)
    for backend, dtype, least in (
        ("openvino", "float32", 0.999999),
        ("openvino", "bfloat16", 0.999),
        ("torch", "bfloat16", 0.999),
        ("torch", "float16", 0.999),
    ):
        out = tmp_path / f"{backend}-{dtype}"
        manifest = encode(config_for(source, model, out, backend=backend, dtype=dtype)).manifest
        found = embedding_array(table_of(out)["embedding"])
        assert found.dtype == np.float32
        assert cosines(found, expected).min() > least
        assert (manifest.lineage["backend"], manifest.lineage["dtype"]) == (backend, dtype)
        measured = manifest.about["min_cosine_to_float32"]
        assert measured is None if dtype == "float32" else least < measured < 1


@pytest.mark.slow
def test_too_low_a_cosine_stops_before_the_first_commit(source: str, tmp_path: Path) -> None:
    model, out = save_tiny_model(tmp_path / "model"), tmp_path / "out"
    with pytest.raises(
        ShardError, match=r"5 of 5 shards[\s\S]*cosine of 0\.99\d* .*--min-cosine 0\.999999[\s\S]*float32"
    ):
        encode(config_for(source, model, out, dtype="bfloat16", min_cosine=0.999999))
    assert not (out / "commits").exists()
    assert not (out / "data").exists()
    encode(config_for(source, model, out, dtype="bfloat16", min_cosine=0.99))  # no other embeddings: it may go on


@pytest.mark.parametrize(
    "precision",
    ["int8", *(pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "uint8", "binary", "ubinary"))],
)
def test_every_precision(precision: str, source: str, tmp_path: Path) -> None:
    model, out = save_tiny_model(tmp_path / "model", dense=12), tmp_path / "out"
    manifest = encode(config_for(source, model, out, precision=precision, normalize=True)).manifest
    full = BiEncoder(model).encode(TEXTS, normalize_embeddings=True)
    found = embedding_array(table_of(out)["embedding"])
    ranges = manifest.about["ranges"]
    if precision.endswith("int8"):
        # All of so small a corpus is the sample.
        np.testing.assert_allclose(ranges, [full.min(axis=0), full.max(axis=0)], atol=1e-5)
        assert np.abs(found.astype(int) - quantize_embeddings(full, precision, ranges=ranges).astype(int)).max() <= 1
    else:
        assert ranges is None
        expected = quantize_embeddings(full, precision)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert manifest.about["dimension"] == 12


@pytest.mark.slow
def test_ranges_are_settled_once(source: str, tmp_path: Path) -> None:
    model, out = save_tiny_model(tmp_path / "model"), tmp_path / "out"
    config = config_for(source, model, out, precision="int8")
    whole = encode(config).manifest
    before = table_of(out)
    for gone in ("manifest.json", "commits/part-00001.json"):
        (out / gone).unlink()
    ranges = np.array(whole.about["ranges"]) * 2
    (out / "ranges.json").write_text(str(ranges.tolist()))
    after = encode(config).manifest
    assert after.about["ranges"] == ranges.tolist()
    same = np.array(table_of(out)["embedding"].to_pylist()) == np.array(before["embedding"].to_pylist())
    assert same[:8].all() and same[16:].all()
    assert not same[8:16].all()


@pytest.mark.slow
def test_auto_goes_on_as_it_was_begun(source: str, tmp_path: Path) -> None:
    model, out = save_tiny_model(tmp_path / "model"), tmp_path / "out"
    encode(config_for(source, model, out, dtype="float16"))
    (out / "manifest.json").unlink()
    automatic = config_for(source, model, out, backend="auto", dtype="auto")
    assert encode(automatic).manifest.lineage["dtype"] == "float16"
    assert encode(automatic).already_complete
    with pytest.raises(OutputError, match=r"dtype: 'float16' before, 'float32' now"):
        encode(config_for(source, model, out, backend="auto"))
    fresh = encode(config_for(source, model, tmp_path / "fresh", backend="auto", dtype="auto")).manifest.lineage
    assert (fresh["backend"], fresh["dtype"]) == ("openvino", "bfloat16" if cpu_has_bfloat16() else "float32")
