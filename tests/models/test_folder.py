"""What a folder says of itself, and one clear error, before any weight is loaded, for whatever is wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.folder import check_weights, read_model_folder
from st_ray.models.specs import DenseSpec, LayerNormSpec, NormalizeSpec, PoolingSpec, TransformerSpec
from tests.models.tiny_models import read_json, save_tiny_backbone, save_tiny_model, save_tiny_static, write_json

PROMPTS = {"query": "query: ", "passage": "the passage : "}
EVERYTHING: dict[str, Any] = {
    "pooling": ("cls", "mean"),
    "dense": 12,
    "layer_norm": True,
    "normalize": True,
    "prompts": PROMPTS,
    "default_prompt_name": "passage",
    "truncate_dim": 8,
    "similarity_fn_name": "dot",
    "max_seq_length": 40,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model", **EVERYTHING)


@pytest.mark.parametrize("generation", [3, 6])
def test_everything_is_read(generation: int, tmp_path: Path) -> None:
    model = read_model_folder(save_tiny_model(tmp_path / "model", generation=generation, **EVERYTHING))
    transformer, pooling, dense, norm, normalize = model.modules
    assert isinstance(transformer, TransformerSpec)
    assert transformer.max_seq_length == model.max_seq_length == 40
    assert pooling == PoolingSpec(("cls", "mean"), include_prompt=True)
    assert isinstance(dense, DenseSpec)
    assert (dense.in_features, dense.out_features) == (64, 12)
    assert norm == LayerNormSpec(model.path / "3_LayerNorm", 12)
    assert normalize == NormalizeSpec()
    assert (model.truncate_dim, model.similarity_fn_name) == (8, "dot")
    check_weights(model)


def test_prompts(folder: Path) -> None:
    model = read_model_folder(folder)
    assert model.prompt() == PROMPTS["passage"]
    assert model.prompt(prompt_name="query") == PROMPTS["query"]
    assert model.prompt(prompt_name="document") == ""
    assert model.prompt(prompt="own ", prompt_name="query") == "own "
    assert model.prompt(prompt="") == ""
    with pytest.raises(ConfigError, match=r"no prompt named 'nope'[^$]*document, passage, query"):
        model.prompt(prompt_name="nope")


def test_plain_folder_gets_mean_pooling(tmp_path: Path) -> None:
    model = read_model_folder(save_tiny_backbone(tmp_path / "plain"))
    assert model.modules == (TransformerSpec(model.path), PoolingSpec(("mean",)))
    assert model.prompt() == ""


def _module(index: int, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        modules = read_json(folder / "modules.json")
        modules[index] |= changes
        write_json(folder / "modules.json", modules)

    return change


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / name, read_json(folder / name) | changes)


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return write


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "clip": (_module(0, type="sentence_transformers.models.CLIPModel"), "modules.json.*'sentence_transf.*CLIPModel'"),
    "router": (_module(0, type="sentence_transformers.base.modules.router.Router"), "Router'"),
    "sparse": (_module(1, type="sentence_transformers.sparse_encoder.modules.SpladePooling"), "SpladePooling'"),
    "own code": (_module(1, type="modeling_mine.Pooling"), "'modeling_mine.Pooling'"),
    "outside": (_module(1, path="../elsewhere"), "points outside"),
    "no type": (_module(1, type=None), "entry without a type"),
    "pooling first": (
        _module(0, type="sentence_transformers.models.Pooling", path="1_Pooling"),
        "does not begin with a module that takes text",
    ),
    "two poolings": (
        _module(2, type="sentence_transformers.models.Pooling", path="1_Pooling"),
        "has 2 Pooling modules",
    ),
    "no pooling": (_module(1, type="sentence_transformers.models.Normalize", path=""), "has 0 Pooling modules"),
    "modules not json": (_write("modules.json", "[{"), "modules.json cannot be read"),
    "modules empty": (_write("modules.json", "[]"), "modules.json lists no modules"),
    "modules not a list": (_write("modules.json", "{}"), "modules.json lists no modules"),
    "pooling folder": (lambda folder: shutil.rmtree(folder / "1_Pooling"), "1_Pooling/config.json is missing"),
    "pooling not json": (_write("1_Pooling/config.json", "nope"), "1_Pooling/config.json cannot be read"),
    "pooling mode": (_edit("1_Pooling/config.json", pooling_mode="median"), "pooling.*median"),
    "dense sizes": (_edit("2_Dense/config.json", in_features=None), "2_Dense/config.json states in_features None"),
    "dense activation": (_edit("2_Dense/config.json", activation_function="os.system"), "activation 'os.system'"),
    "dense feature": (_edit("2_Dense/config.json", module_input_name="mystery"), "'mystery'"),
    "no config": (_remove("config.json"), "model/config.json is missing"),
    "config not json": (_write("config.json", "\x00"), "config.json cannot be read"),
    "no vocabulary": (_remove("tokenizer.json"), "tokenizer.json is missing"),
    "adapter": (_write("adapter_config.json", "{}"), "adapter"),
    "task": (_edit("sentence_bert_config.json", transformer_task="fill-mask"), "'fill-mask'"),
    "chat": (_edit("sentence_bert_config.json", modality_config={"message": {}}), "other than plain text"),
    "settings": (_write("config_sentence_transformers.json", "]"), "config_sentence_transformers.json cannot be read"),
    "model type": (_edit("config_sentence_transformers.json", model_type="CrossEncoder"), "a CrossEncoder"),
    "default prompt": (_edit("config_sentence_transformers.json", default_prompt_name="x"), "default prompt 'x'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folder(name: str, folder: Path) -> None:
    break_it, message = BROKEN[name]
    break_it(folder)
    with pytest.raises(ModelError, match=message):
        read_model_folder(folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder at"):
        read_model_folder(tmp_path / "nowhere")


def test_plain_chat_model_is_refused(tmp_path: Path) -> None:
    plain = save_tiny_backbone(tmp_path / "plain")
    (plain / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(ModelError, match="chat template"):
        read_model_folder(plain)


def _truncate(name: str, keep: float) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return cut


def _pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _shard_missing(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    first = dict(list(weights.items())[:5])
    save_file(first, folder / "model-00001-of-00002.safetensors")
    places = {name: f"model-0000{1 if name in first else 2}-of-00002.safetensors" for name in weights}
    write_json(folder / "model.safetensors.index.json", {"weight_map": places})


BAD_WEIGHTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (_truncate("model.safetensors", 0.9), "model/model.safetensors is damaged"),
    "one byte short": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1]),
        "model.safetensors is damaged",
    ),
    "header only in part": (_truncate("model.safetensors", 0.001), "truncated or not a safetensors"),
    "empty": (_truncate("model.safetensors", 0), "truncated or not a safetensors"),
    "lfs pointer": (_write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    "not safetensors": (_write("model.safetensors", "<html>" * 9), "truncated or not a safetensors"),
    "none": (_remove("model.safetensors"), "holds no weights: model.safetensors is missing"),
    "head": (_truncate("2_Dense/model.safetensors", 0.5), "2_Dense/model.safetensors is"),
    "no head": (_remove("3_LayerNorm/model.safetensors"), "3_LayerNorm holds no weights"),
    "pickled": (_pickle_only, "only in pickled form"),
    "shard": (_shard_missing, "model-00002-of-00002.safetensors is missing"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights_are_found_without_loading(name: str, folder: Path) -> None:
    break_it, message = BAD_WEIGHTS[name]
    break_it(folder)
    model = read_model_folder(folder)
    with pytest.raises(ModelError, match=message):
        check_weights(model)


def test_pickled_weights_pass_when_allowed(folder: Path) -> None:
    _pickle_only(folder)
    check_weights(read_model_folder(folder), allow_pickle=True)


def test_static_folder_needs_its_tokenizer(tmp_path: Path) -> None:
    folder = save_tiny_static(tmp_path / "static")
    check_weights(read_model_folder(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        read_model_folder(folder)
