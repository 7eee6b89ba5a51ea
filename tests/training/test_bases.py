"""What a folder is to training, and one clear error, before a weight is read, for what cannot be trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from st_ray.core.errors import ConfigError, ModelError
from st_ray.training.bases import inspect_pair_base, inspect_text_base
from tests.models.tiny_models import (
    POSITIONS,
    read_json,
    save_tiny_backbone,
    save_tiny_classifier,
    save_tiny_model,
    save_tiny_static,
    write_json,
)
from tests.training.networks import move_transformer

INSPECT: tuple[Callable[..., Any], ...] = (inspect_text_base, inspect_pair_base)


def test_a_transformer_gets_a_head(tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "plain")
    assert inspect_pair_base(folder).labels == 1
    base = inspect_pair_base(folder, labels=3, keep_layers=[1], max_length=20)
    assert (base.labels, base.has_head, base.keep_layers, base.max_length) == (3, False, (1,), 20)
    assert base.transformer.path == base.path == folder


def test_a_head_is_kept(tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "pairs", labels=3)
    base = inspect_pair_base(folder)
    assert (base.labels, base.has_head) == (3, True)
    assert inspect_pair_base(folder, labels=3) == base
    with pytest.raises(ConfigError, match=rf"{folder} gives 3 labels a pair, and 2 are to be trained"):
        inspect_pair_base(folder, labels=2)
    with pytest.raises(ConfigError, match="labels is 0"):
        inspect_pair_base(folder, labels=0)


def test_prompts_of_a_cross_encoder_only(tmp_path: Path) -> None:
    pairs, prompts = save_tiny_classifier(tmp_path / "pairs"), {"find": "find the: "}
    write_json(pairs / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": "find"})
    kept = inspect_pair_base(pairs).folder
    assert (kept.prompts, kept.default_prompt_name) == (prompts, "find")
    texts = save_tiny_model(tmp_path / "texts", prompts=prompts, default_prompt_name="find")
    left = inspect_pair_base(texts).folder
    assert (left.prompts, left.default_prompt_name) == ({}, None)
    assert inspect_text_base(texts).folder.prompts["find"] == "find the: "


@pytest.mark.parametrize("generation", [3, 6])
def test_a_model_for_embeddings(generation: int, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "texts", generation, dense=8, max_seq_length=20, do_lower_case=True)
    for base in (inspect_text_base(folder), inspect_pair_base(folder, labels=2)):
        assert (base.transformer.max_seq_length, base.transformer.do_lower_case) == (20, True)
    assert len(inspect_text_base(folder).folder.modules) == 3
    assert len(inspect_pair_base(folder).folder.modules) == 1
    move_transformer(folder)
    for inspect in INSPECT:
        assert inspect(folder).transformer.path == folder / "0_Transformer"


def test_a_transformer_gets_mean_pooling(tmp_path: Path) -> None:
    base = inspect_text_base(save_tiny_backbone(tmp_path / "plain"))
    assert [type(module).__name__ for module in base.folder.modules] == ["TransformerSpec", "PoolingSpec"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"keep_layers": [0, 2]}, r"keep_layers is 0, 2, .* has 2 layers\s+-> name layers 0 to 1"),
        ({"keep_layers": [-1]}, "keep_layers is -1"),
        ({"keep_layers": [1, 0]}, "lower ones first"),
        ({"keep_layers": [1, 1]}, "each layer once"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": POSITIONS + 1}, rf"has {POSITIONS} positions\s+-> give {POSITIONS} or less"),
    ],
)
def test_what_does_not_fit_the_base(chosen: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "plain")
    for inspect in INSPECT:
        with pytest.raises(ConfigError, match=message):
            inspect(folder, **chosen)


def test_layers_that_nobody_counts(tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "plain")
    config = read_json(folder / "config.json")
    del config["num_hidden_layers"]
    write_json(folder / "config.json", config)
    with pytest.raises(ConfigError, match=r"config\.json does not state a number of layers"):
        inspect_text_base(folder, keep_layers=[0])
    inspect_text_base(folder)


def test_static_embeddings(tmp_path: Path) -> None:
    for inspect in INSPECT:
        with pytest.raises(ModelError, match=r"static embeddings[^$]*use a transformer"):
            inspect(save_tiny_static(tmp_path / "static"))


def test_dropout_between_modules(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "texts", generation=3)
    modules = read_json(folder / "modules.json")
    modules.append({"idx": 2, "name": "2", "path": "2_Dropout", "type": "sentence_transformers.models.Dropout"})
    write_json(folder / "modules.json", modules)
    with pytest.raises(ModelError, match=r"modules\.json names a Dropout module"):
        inspect_text_base(folder)


@pytest.mark.parametrize("architecture", ["xlnet", "t5"])
def test_architectures_without_a_head(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "plain", architecture)
    with pytest.raises(ModelError, match=f"is a {architecture} model: no classification head fits it"):
        inspect_pair_base(folder)
    inspect_text_base(folder)


def test_models_for_pairs_are_none_for_texts(tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "pairs")
    listing = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    ]
    write_json(folder / "modules.json", listing)
    write_json(folder / "sentence_bert_config.json", {"transformer_task": "sequence-classification"})
    assert inspect_pair_base(folder).has_head
    with pytest.raises(ModelError, match="'sequence-classification', not for embeddings"):
        inspect_text_base(folder)


def test_weights_are_looked_at_from_outside(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = save_tiny_backbone(tmp_path / "plain")
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    for inspect in INSPECT:
        with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
            inspect(folder)
    weights.unlink()
    for inspect in INSPECT:
        with pytest.raises(ModelError, match="only in pickled form"):
            inspect(folder)
        assert inspect(folder, allow_pickle=True).allow_pickle
        with pytest.raises(ModelError, match="no model folder at"):
            inspect(tmp_path / "nowhere")


def test_models_of_packages(minilm: str) -> None:
    assert inspect_text_base(minilm).transformer.max_seq_length == 256
    base = inspect_pair_base(minilm, keep_layers=[0, 5])
    assert (base.labels, base.transformer.max_seq_length) == (1, 256)


def test_no_library_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from st_ray.training.bases import inspect_pair_base; inspect_pair_base(sys.argv[1]); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(save_tiny_backbone(tmp_path / "plain"))], check=True)
