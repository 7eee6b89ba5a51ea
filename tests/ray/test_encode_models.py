"""The encode job with real, tiny models: what it stores is what the model gives in memory; damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from st_ray.core.errors import ConfigError, ModelError, ShardError
from st_ray.models.bi_encoder import BiEncoder
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
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
