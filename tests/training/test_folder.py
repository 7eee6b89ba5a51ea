"""A written folder is the trained network: st-ray computes the same with it, and it says what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from st_ray import BiEncoder, CrossEncoder
from st_ray.core.errors import ConfigError
from st_ray.models.source import model_digest
from st_ray.training.bases import inspect_pair_base, inspect_text_base
from st_ray.training.folder import write_pair_folder, write_text_folder
from st_ray.training.network import load_pair_network, load_text_network
from tests.models.tiny_models import (
    read_json,
    save_tiny_backbone,
    save_tiny_classifier,
    save_tiny_model,
    write_json,
)
from tests.training.networks import LINES, PAIRS, embeddings_of, logits_of, move_transformer, trained

PROMPTS = {"query": "query: ", "document": "", "passage": "the passage : "}
TEXTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all modules": {"pooling": ("cls", "mean"), "dense": 24, "layer_norm": True, "normalize": True},
    "prompts": {"include_prompt": False, "prompts": PROMPTS, "default_prompt_name": "passage"},
    "short": {"max_seq_length": 7, "do_lower_case": True},
    "truncated": {"truncate_dim": 8, "similarity_fn_name": "dot"},
    "roberta": {"architecture": "roberta", "pooling": ("cls",)},
    "llama": {"architecture": "llama", "pooling": ("lasttoken",)},
    "t5, tied": {"architecture": "t5"},
    "xlnet": {"architecture": "xlnet"},
}


# The random weights of tiny models are large, and so is the rounding of layers that inference rewrites.
TINY = 2e-6


def assert_same(found: np.ndarray, expected: np.ndarray, tolerance: float = TINY) -> None:
    assert found.dtype == expected.dtype == np.float32
    assert expected.std() > 1e-3
    difference = np.abs(found - expected).max() / max(1, np.abs(expected).max())
    assert difference <= tolerance, f"largest difference {difference:.2e}"


def retrained(folder: Path, target: Path, **chosen: Any) -> np.ndarray:
    """Train the bi-encoder in `folder` a little, write it to `target`, and give the network's own embeddings."""
    base = inspect_text_base(folder, **chosen)
    network = trained(load_text_network(base))
    write_text_folder(network, base, target)
    return embeddings_of(network, base)


def retrained_pairs(folder: Path, target: Path, activation: str = "identity", **chosen: Any) -> np.ndarray:
    """The same for a cross-encoder, and its logits."""
    base = inspect_pair_base(folder, **chosen)
    network = trained(load_pair_network(base, seed=5))
    write_pair_folder(network, base, target, activation)
    return logits_of(network, base)


@pytest.mark.parametrize("generation", [3, 6])
@pytest.mark.parametrize("name", TEXTS)
def test_texts(name: str, generation: int, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base", generation, **TEXTS[name])
    before = BiEncoder(folder).encode(LINES)
    expected = retrained(folder, tmp_path / "trained")
    model, base = BiEncoder(tmp_path / "trained"), BiEncoder(folder)
    found = model.encode(LINES)
    assert_same(found, expected[:, : model.dimension])
    assert np.abs(found - before).max() > 1e-3
    for stated in ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim", "max_seq_length"):
        assert getattr(model.folder, stated) == getattr(base.folder, stated), stated
    assert model.folder.do_lower_case == base.folder.do_lower_case
    assert model.folder.modules[1:2] == base.folder.modules[1:2]


def test_texts_with_the_transformer_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = move_transformer(save_tiny_model(tmp_path / "base", generation=3, dense=8, max_seq_length=9))
    expected = retrained(folder, tmp_path / "trained")
    assert_same(BiEncoder(tmp_path / "trained").encode(LINES), expected)
    assert sorted(file.name for file in (tmp_path / "trained").iterdir()) == [
        "0_Transformer",
        "1_Pooling",
        "2_Dense",
        "config_sentence_transformers.json",
        "modules.json",
    ]


@pytest.mark.parametrize("architecture", ["bert", "llama-lm", "t5", "byt5"])
def test_texts_from_a_transformer(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "base", architecture)
    expected = retrained(folder, tmp_path / "trained")
    model = BiEncoder(tmp_path / "trained")
    assert_same(model.encode(LINES), expected)
    assert model.folder.modules[1:] == BiEncoder(folder).folder.modules[1:]
    assert (tmp_path / "trained" / "modules.json").exists()


@pytest.mark.parametrize("architecture", ["bert", "roberta", "llama", "xlnet"])
def test_a_student(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base", architecture=architecture)
    expected = retrained(folder, tmp_path / "trained", keep_layers=[1])
    assert_same(BiEncoder(tmp_path / "trained").encode(LINES), expected)
    assert inspect_text_base(tmp_path / "trained", keep_layers=[0]).keep_layers == (0,)


def test_another_length(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base", max_seq_length=30)
    expected = retrained(folder, tmp_path / "trained", max_length=11)
    model = BiEncoder(tmp_path / "trained")
    assert (model.folder.max_seq_length, model.tokenizer.max_seq_length) == (11, 11)
    assert read_json(tmp_path / "trained" / "tokenizer_config.json")["model_max_length"] == 11
    assert_same(model.encode(LINES), expected)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra", "distilbert", "llama"])
@pytest.mark.parametrize("labels", [1, 3])
def test_pairs(architecture: str, labels: int, tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "base", architecture, labels)
    before = CrossEncoder(folder, activation_fn=torch.nn.Identity()).predict(PAIRS)
    expected = retrained_pairs(folder, tmp_path / "trained")
    found = CrossEncoder(tmp_path / "trained").predict(PAIRS)
    assert_same(found.reshape(len(PAIRS), labels), expected)
    assert np.abs(found - before).max() > 1e-3


@pytest.mark.parametrize("labels", [1, 3])
def test_activations(labels: int, tmp_path: Path) -> None:
    folder = save_tiny_classifier(
        tmp_path / "base", labels=labels, sbert_ce_default_activation_function="torch.nn.modules.activation.Tanh"
    )
    logits = retrained_pairs(folder, tmp_path / "sigmoid", "sigmoid")
    retrained_pairs(folder, tmp_path / "identity", "identity")
    shape = (len(PAIRS), labels)
    assert_same(CrossEncoder(tmp_path / "sigmoid").predict(PAIRS).reshape(shape), 1 / (1 + np.exp(-logits)))
    assert_same(CrossEncoder(tmp_path / "identity").predict(PAIRS).reshape(shape), logits)
    config = read_json(tmp_path / "identity" / "config.json")
    named = "torch.nn.modules.linear.Identity"
    assert config["sentence_transformers"]["activation_fn"] == config["sbert_ce_default_activation_function"] == named
    with pytest.raises(ConfigError, match="no activation 'tanh'"):
        retrained_pairs(folder, tmp_path / "tanh", "tanh")
    assert not (tmp_path / "tanh").exists()


@pytest.mark.parametrize("place", ["", "0_Transformer"])
def test_pairs_from_a_model_for_embeddings(place: str, tmp_path: Path) -> None:
    folder = save_tiny_model(
        tmp_path / "base",
        3,
        dense=8,
        max_seq_length=12,
        do_lower_case=True,
        prompts=PROMPTS,
        default_prompt_name="query",
    )
    if place:
        move_transformer(folder, place)
    expected = retrained_pairs(folder, tmp_path / "trained", labels=2)
    model = CrossEncoder(tmp_path / "trained")
    assert_same(model.predict(PAIRS), expected)
    assert (model.folder.model.max_seq_length, model.folder.model.do_lower_case) == (12, True)
    assert model.folder.model.prompts == {}
    assert read_json(tmp_path / "trained" / "config.json")["architectures"] == ["BertForSequenceClassification"]
    assert not [path for path in (tmp_path / "trained").iterdir() if path.is_dir()]


def test_names_of_labels_and_prompts_are_kept(tmp_path: Path) -> None:
    names = {"0": "contradiction", "1": "entailment", "2": "neutral"}
    folder = save_tiny_classifier(tmp_path / "base", labels=3, id2label=names)
    prompts = {"prompts": {"find": "find the: "}, "default_prompt_name": "find"}
    write_json(folder / "config_sentence_transformers.json", prompts)
    expected = retrained_pairs(folder, tmp_path / "trained")
    assert read_json(tmp_path / "trained" / "config.json")["id2label"] == names
    model = CrossEncoder(tmp_path / "trained")
    assert_same(model.predict(PAIRS), expected)
    assert (model.folder.model.prompts, model.folder.model.default_prompt_name) == ({"find": "find the: "}, "find")


def test_a_student_of_pairs_with_another_length(tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "base")
    expected = retrained_pairs(folder, tmp_path / "trained", keep_layers=[1], max_length=13)
    model = CrossEncoder(tmp_path / "trained")
    assert model.tokenizer.max_length == 13
    assert_same(model.predict(PAIRS)[:, None], expected)


def test_only_what_the_model_needs_is_there(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base", generation=3, dense=8)
    for name in ("onnx/model.onnx", "openvino/config.json", "training/state.json", ".cache/x.json"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("{}")
    for name in ("README.md", "pytorch_model.bin", "manifest.json", "run.json", "data_config.json", "train_script.py"):
        (folder / name).write_text("of the base")
    (folder / "special_tokens_map.json").write_text('{"pad_token": "[PAD]"}')
    retrained(folder, tmp_path / "texts")
    tokenizer = {"special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}
    model = {"config.json", "model.safetensors", "modules.json", "config_sentence_transformers.json"}
    expected = tokenizer | model | {"sentence_bert_config.json"}
    assert (tmp_path / "texts" / "special_tokens_map.json").read_text() == '{"pad_token": "[PAD]"}'
    heads = {"1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"}
    assert files(tmp_path / "texts") == expected | heads
    retrained_pairs(folder, tmp_path / "pairs")
    assert files(tmp_path / "pairs") == expected


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_settings_that_would_change_what_was_trained_are_not_kept(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base")
    settings = read_json(folder / "sentence_bert_config.json")
    given = {
        "model_args": {"torch_dtype": "float16", "add_pooling_layer": False},
        "config_args": {"num_hidden_layers": 1},
    }
    write_json(folder / "sentence_bert_config.json", settings | given)
    expected = retrained(folder, tmp_path / "trained")
    written = read_json(tmp_path / "trained" / "sentence_bert_config.json")
    assert written["model_args"] == {"add_pooling_layer": False}
    assert "config_args" not in written
    config = read_json(tmp_path / "trained" / "config.json")
    assert (config["num_hidden_layers"], config["dtype"]) == (1, "float32")
    assert str(tmp_path) not in (tmp_path / "trained" / "config.json").read_text()
    assert_same(BiEncoder(tmp_path / "trained").encode(LINES), expected)


def test_the_same_network_gives_the_same_bytes_and_stays_as_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = inspect_pair_base(save_tiny_backbone(tmp_path / "base"), labels=2)
    network = load_pair_network(base, 3)
    before = logits_of(network, base)
    capfd.readouterr()
    for name in ("one", "other"):
        write_pair_folder(network, base, tmp_path / name, "sigmoid")
    assert model_digest(tmp_path / "one") == model_digest(tmp_path / "other") != model_digest(base.path)
    assert capfd.readouterr() == ("", "")
    assert network.training
    np.testing.assert_array_equal(logits_of(network, base), before)


def test_a_trained_folder_is_a_base(tmp_path: Path) -> None:
    texts = save_tiny_model(tmp_path / "texts", dense=8, prompts=PROMPTS)
    retrained(texts, tmp_path / "one", max_length=11)
    again = inspect_text_base(tmp_path / "one")
    write_text_folder(load_text_network(again), again, tmp_path / "two")
    assert model_digest(tmp_path / "one") == model_digest(tmp_path / "two")
    retrained_pairs(texts, tmp_path / "three", "sigmoid", labels=2)
    pairs = inspect_pair_base(tmp_path / "three")
    assert pairs.has_head
    write_pair_folder(load_pair_network(pairs, 1), pairs, tmp_path / "four", "sigmoid")
    assert model_digest(tmp_path / "three") == model_digest(tmp_path / "four")
