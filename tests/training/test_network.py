"""What is trained: all of the base's weights and a seeded head, in train mode, and nothing that no loss can reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.network import TokenBatch
from st_ray.training.bases import PairBase, inspect_pair_base, inspect_text_base
from st_ray.training.layers import keep_layers
from st_ray.training.network import Network, freeze_unreached, load_pair_network, load_text_network
from tests.models.tiny_models import (
    HIDDEN,
    POSITIONS,
    read_json,
    save_tiny_backbone,
    save_tiny_classifier,
    save_tiny_model,
    write_json,
)

IDS = torch.arange(5, 29).reshape(2, 12)
BATCH = TokenBatch(IDS, torch.tensor([12, 7]), mask=(torch.arange(12) < torch.tensor([[12], [7]])).long())


def state(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def differing(one: Network, other: Network) -> list[str]:
    return [name for name, tensor in state(one).items() if not torch.equal(tensor, state(other)[name])]


def test_what_comes_out(tmp_path: Path) -> None:
    texts = load_text_network(inspect_text_base(save_tiny_model(tmp_path / "texts", dense=8, normalize=True)))
    found = texts(BATCH)
    assert (found.dtype, tuple(found.shape)) == (torch.float32, (2, 8))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    pairs = load_pair_network(inspect_pair_base(tmp_path / "texts", labels=3), seed=1)
    assert tuple(pairs(BATCH).shape) == (2, 3)
    assert (pairs.padding_id, pairs.positions) == (0, POSITIONS)
    assert pairs.vocabulary == texts.vocabulary


def test_dropout_is_alive_until_eval(tmp_path: Path) -> None:
    network = load_text_network(inspect_text_base(save_tiny_backbone(tmp_path / "plain")))
    assert network.training
    torch.manual_seed(1)
    first, second = network(BATCH), network(BATCH)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(network(BATCH), first)
    network.eval()
    assert torch.equal(network(BATCH), network(BATCH))


@pytest.mark.parametrize("architecture", ["bert", "roberta", "llama", "t5", "xlnet"])
def test_every_trained_weight_of_texts_gets_a_gradient(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "texts", architecture=architecture, dense=8, layer_norm=True)
    network = load_text_network(inspect_text_base(folder))
    network(BATCH).square().sum().backward()
    for name, tensor in network.named_parameters():
        assert tensor.requires_grad == (tensor.grad is not None), name
    frozen = {name for name, tensor in network.named_parameters() if not tensor.requires_grad}
    poolers = {name for name, _ in network.named_parameters() if ".pooler." in name}
    assert poolers <= frozen
    assert bool(poolers) == (architecture in ("bert", "roberta"))
    assert all(tensor.requires_grad for tensor in network.rest.parameters())


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra", "distilbert", "llama"])
def test_every_weight_of_pairs_gets_a_gradient(architecture: str, tmp_path: Path) -> None:
    network = load_pair_network(inspect_pair_base(save_tiny_classifier(tmp_path / "pairs", architecture)), seed=1)
    network(BATCH).square().sum().backward()
    assert all(tensor.grad is not None for tensor in network.parameters())


def test_freezing_draws_no_random_numbers_and_leaves_no_gradients(tmp_path: Path) -> None:
    network = load_text_network(inspect_text_base(save_tiny_backbone(tmp_path / "plain")))
    for tensor in network.parameters():
        tensor.requires_grad_(True)
    before = torch.random.get_rng_state()
    frozen = freeze_unreached(network)
    assert frozen == ["first.model.pooler.dense.weight", "first.model.pooler.dense.bias"]
    assert freeze_unreached(network) == []
    assert torch.equal(torch.random.get_rng_state(), before)
    assert network.training
    assert all(tensor.grad is None for tensor in network.parameters())


def test_a_head_by_its_seed(tmp_path: Path) -> None:
    base = inspect_pair_base(save_tiny_backbone(tmp_path / "plain"), labels=2)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (load_pair_network(base, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert differing(one, same) == []
    assert differing(one, other) == ["first.model.classifier.weight"]
    from safetensors.torch import load_file

    weights = load_file(base.path / "model.safetensors")
    body = one.first.model.bert.state_dict()
    assert weights.keys() <= body.keys()
    assert all(torch.equal(body[name], tensor) for name, tensor in weights.items())


def test_what_a_folder_lacks_is_the_same_each_time(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_tiny_backbone(tmp_path / "plain")
    file = folder / "model.safetensors"
    save_file(
        {name: tensor for name, tensor in load_file(file).items() if "pooler" not in name}, file, {"format": "pt"}
    )
    assert differing(*(load_text_network(inspect_text_base(folder)) for _ in range(2))) == []
    assert differing(*(load_pair_network(inspect_pair_base(folder), 3) for _ in range(2))) == []


def test_half_weights_are_trained_in_full(tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = save_tiny_backbone(tmp_path / "plain")
    AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    assert read_json(folder / "config.json")["dtype"] == "float16"
    for network in (load_text_network(inspect_text_base(folder)), load_pair_network(inspect_pair_base(folder), 1)):
        assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}


def test_pickled_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = save_tiny_model(tmp_path / "texts", dense=8)
    expected = load_text_network(inspect_text_base(folder))
    for place in (folder, folder / "2_Dense"):
        torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
        (place / "model.safetensors").unlink()
    assert differing(load_text_network(inspect_text_base(folder, allow_pickle=True)), expected) == []


def test_only_the_transformer_runs_under_autocast(tmp_path: Path) -> None:
    network = load_text_network(inspect_text_base(save_tiny_model(tmp_path / "texts", dense=8))).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = network(BATCH)
        tokens = network.first(BATCH.ids, BATCH.mask, BATCH.type_ids)
    pooling, dense = network.rest
    with torch.no_grad():
        expected = dense(pooling(tokens, BATCH.lengths))
        assert not torch.equal(found, network(BATCH))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "llama", "t5", "xlnet"])
def test_a_student_of_texts(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "plain", architecture)
    whole = load_text_network(inspect_text_base(folder))
    assert differing(load_text_network(inspect_text_base(folder, keep_layers=[0, 1])), whole) == []
    student = load_text_network(inspect_text_base(folder, keep_layers=[0]))
    assert student.first.model.config.num_hidden_layers == 1
    parts, kept = state(whole), state(student)
    assert kept.keys() < parts.keys()
    assert all(torch.equal(parts[name], tensor) for name, tensor in kept.items())
    assert not torch.equal(student.eval()(BATCH), whole.eval()(BATCH))


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra", "distilbert", "llama"])
def test_a_student_of_pairs(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "pairs", architecture, labels=2)
    whole = state(load_pair_network(inspect_pair_base(folder), 1))
    student = load_pair_network(inspect_pair_base(folder, keep_layers=[1]), 1)
    assert student.first.model.config.num_hidden_layers == 1
    for name, tensor in state(student).items():
        source = next(
            (name.replace(row, row.replace("0", "1")) for row in ("layer.0.", "layers.0.") if row in name), name
        )
        assert torch.equal(tensor, whole[source]), name


def test_a_student_of_a_transformer_has_one_head(tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "plain")
    student = load_pair_network(inspect_pair_base(folder, labels=2, keep_layers=[1]), 1)
    assert student.first.model.config.num_hidden_layers == 1
    assert tuple(student(BATCH).shape) == (2, 2)


def test_layers_that_differ(tmp_path: Path) -> None:
    import transformers

    with pytest.raises(ConfigError, match=r"layers 1 of a t5 model cannot stand alone.*relative_attention_bias"):
        load_text_network(inspect_text_base(save_tiny_backbone(tmp_path / "t5", "t5"), keep_layers=[1]))
    sizes = {"hidden_size": HIDDEN, "num_attention_heads": 2, "intermediate_size": 64}
    albert = transformers.AlbertModel(transformers.AlbertConfig(vocab_size=40, **sizes, num_hidden_layers=3))
    with pytest.raises(ConfigError, match="albert model has no row of 3 layers"):
        keep_layers(albert, [0, 1])
    modern: Any = transformers.ModernBertConfig(vocab_size=40, pad_token_id=0, **sizes, num_hidden_layers=4)
    model = transformers.ModernBertModel(modern)
    stated = list(model.config.layer_types)
    assert len(set(stated)) == 2
    keep_layers(model, [0, 2, 3])
    assert model.config.layer_types == [stated[0], stated[2], stated[3]]


def test_positions_that_are_reserved(tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "pairs", "roberta")
    stated = read_json(folder / "config.json")["max_position_embeddings"]
    load_pair_network(inspect_pair_base(folder, max_length=stated - 1), 1)
    with pytest.raises(ConfigError, match=rf"max_length is {stated}, .* has {stated - 1} positions"):
        load_pair_network(inspect_pair_base(folder, max_length=stated), 1)


def test_no_head_fits(tmp_path: Path) -> None:
    encoder = inspect_text_base(save_tiny_backbone(tmp_path / "t5", "t5")).folder
    with pytest.raises(ModelError, match=r"no classification head can be put on .*decoder"):
        load_pair_network(PairBase(encoder), 1)


def test_a_head_that_cannot_run(tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "llama", "llama")
    write_json(folder / "config.json", read_json(folder / "config.json") | {"pad_token_id": None})
    with pytest.raises(ModelError, match=r"a few tokens cannot be run .*padding token"):
        load_pair_network(inspect_pair_base(folder), 1)


def test_modules_that_do_not_fit_each_other(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "texts", dense=8)
    modules = read_json(folder / "modules.json")
    write_json(folder / "modules.json", [*modules, modules[-1] | {"idx": 3, "name": "3"}])
    with pytest.raises(ModelError, match="a few tokens cannot be run through the modules"):
        load_text_network(inspect_text_base(folder))


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = save_tiny_backbone(tmp_path / "plain")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"] = np.full(HIDDEN, np.nan, np.float32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for load in (
        lambda: load_text_network(inspect_text_base(folder)),
        lambda: load_pair_network(inspect_pair_base(folder), 1),
    ):
        with pytest.raises(ModelError, match="the output is not finite"):
            load()
