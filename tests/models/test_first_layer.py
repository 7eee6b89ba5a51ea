"""A first layer that looks its queries, keys and values up computes what the model's own does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

import st_ray.models.first_layer as first_layer
from st_ray.models.bert_layers import rewrite_layers
from st_ray.models.first_layer import LookedUpLayer, TokensAlone, look_up_first_layer

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "pad_token_id": 1,
}
FAMILIES: dict[str, tuple[Any, Any, dict[str, int]]] = {
    "bert": (BertModel, BertConfig, {}),
    "roberta": (RobertaModel, RobertaConfig, {"type_vocab_size": 1}),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig, {"type_vocab_size": 1}),
    "camembert": (CamembertModel, CamembertConfig, {"type_vocab_size": 1}),
    "electra": (ElectraModel, ElectraConfig, {"embedding_size": 32}),
}


def made(family: str = "bert", **more: int) -> Any:
    """A model with random weights, of layers and of normalization, which are ones and zeros where training begins."""
    kind, config, own = FAMILIES[family]
    torch.manual_seed(0)
    model = kind(config(**SIZES | own | more)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model


@torch.inference_mode()
def states(model: Any, types: bool) -> torch.Tensor:
    """Hidden states of three rows, in their own places."""
    lengths = torch.tensor([[19], [12], [1]])
    mask = (torch.arange(19) < lengths).long()
    ids = torch.where(mask > 0, torch.randint(2, 90, (3, 19), generator=torch.Generator().manual_seed(1)), 1)
    given = {"token_type_ids": (torch.arange(19) > lengths // 2).long()} if types else {}
    return model(input_ids=ids, attention_mask=mask, **given).last_hidden_state[mask > 0]


class _EmbeddingsOfItsOwn(torch.nn.Module):
    """As a model brings them whose code comes with it: there are no places."""

    def __init__(self, embeddings: Any) -> None:
        super().__init__()
        self.word_embeddings, self.LayerNorm = embeddings.word_embeddings, embeddings.LayerNorm

    def forward(self, input_ids: torch.Tensor, **unused: Any) -> torch.Tensor:
        return self.LayerNorm(self.word_embeddings(input_ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_the_model(family: str) -> None:
    model = made(family)
    cases = (False, True) if model.config.type_vocab_size > 1 else (False,)
    expected = [states(model, types) for types in cases]
    assert look_up_first_layer(model)
    assert isinstance(model.embeddings, TokensAlone) and isinstance(model.encoder.layer[0], LookedUpLayer)
    for before, types in zip(expected, cases, strict=True):
        torch.testing.assert_close(states(model, types), before, rtol=1e-4, atol=2e-5)
    assert len(expected) == 1 or not torch.allclose(expected[0], expected[1], atol=0.1)


def test_the_last_layer_may_be_rewritten_too() -> None:
    model = made()
    expected = model(input_ids=torch.arange(12)[None]).last_hidden_state[:, 0]
    assert rewrite_layers(model, first_token=True, attention=None) and look_up_first_layer(model)
    torch.testing.assert_close(
        model(input_ids=torch.arange(12)[None]).last_hidden_state[:, 0], expected, rtol=1e-4, atol=2e-5
    )


def test_models_that_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    projected = made("electra", embedding_size=16)
    single = made(num_hidden_layers=1)
    assert rewrite_layers(single, first_token=True, attention=None)
    for model in (projected, single):
        layers = list(model.encoder.layer)
        assert not look_up_first_layer(model) and list(model.encoder.layer) == layers
    own = made()
    own.embeddings = _EmbeddingsOfItsOwn(own.embeddings)
    assert not look_up_first_layer(own) and isinstance(own.embeddings, _EmbeddingsOfItsOwn)
    large = made()
    monkeypatch.setattr(first_layer, "_MOST_BYTES", 3 * 4 * 90 * 32 - 1)
    assert not look_up_first_layer(large) and not isinstance(large.embeddings, TokensAlone)


def test_a_layer_that_computes_something_else_is_put_back() -> None:
    model = made()
    expected = states(model, types=False)
    # Larger by half than what normalization divides by.
    model.embeddings.register_forward_hook(lambda module, args, found: found * 1.5)
    changed = states(model, types=False)
    assert not look_up_first_layer(model) and not isinstance(model.encoder.layer[0], LookedUpLayer)
    torch.testing.assert_close(states(model, types=False), changed)
    assert not torch.allclose(expected, changed, atol=0.1)
