"""Attention in bfloat16 on CPUs: that of torch up to rounding, at every length, with and without padding."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from st_ray.models.bert_layers import FusedSelfAttention, _attend_in_bfloat16

HIDDEN, HEADS = 64, 4


@pytest.fixture
def attention() -> FusedSelfAttention:
    torch.manual_seed(0)
    parts = {name: nn.Linear(HIDDEN, HIDDEN) for name in ("query", "key", "value")}
    return FusedSelfAttention(SimpleNamespace(attention_head_size=HIDDEN // HEADS, **parts))


@pytest.mark.parametrize("length", [1, 31, 32, 77, 200])
@pytest.mark.parametrize("padded", [False, True])
def test_bfloat16_is_near_float32(attention: FusedSelfAttention, length: int, padded: bool) -> None:
    states = torch.randn(3, length, HIDDEN) * 3
    lengths = torch.tensor([length, max(1, length - 5), max(1, length // 2)])
    keep = torch.arange(length) < lengths[:, None]
    mask = keep[:, None, None].expand(3, 1, length, length) if padded else None
    with torch.inference_mode():
        expected, _ = attention(states, mask)
        found, _ = attention.to(torch.bfloat16)(states.bfloat16(), mask)
    assert found.dtype == torch.bfloat16
    near = functional.cosine_similarity(found.float(), expected, dim=-1)
    assert near[keep if padded else torch.ones_like(keep)].min() > 0.998


@pytest.mark.parametrize("shift", [-160.0, -80.0, 80.0, 160.0, 2048.0])
def test_scores_beyond_the_range_of_exponentials(shift: float) -> None:
    """One row's scores are all shifted, which a softmax does not see; the other row is not disturbed."""
    rng = torch.Generator().manual_seed(0)
    head, length = 16, 40
    query, key, value = torch.randn(3, 2, HEADS, length, head, generator=rng)
    # bfloat16 tells scores of this size apart by steps of 16 only.
    query[1], query[1, ..., 0] = 0.0, head**0.5
    key[1, ..., 0] = shift + 16.0 * torch.randint(0, 2, (HEADS, length), generator=rng)
    projected = torch.cat([part.transpose(1, 2).flatten(2) for part in (query, key, value)], -1).bfloat16()
    query, key, value = (part.unflatten(-1, (HEADS, head)).transpose(1, 2) for part in projected.chunk(3, -1))
    mask = (torch.arange(length) < torch.tensor([[length], [33]]))[:, None, None].expand(2, 1, length, length)
    with torch.inference_mode():
        expected = functional.scaled_dot_product_attention(query.double(), key.double(), value.double(), mask)
        found = _attend_in_bfloat16(projected, head, mask)
        alone = _attend_in_bfloat16(projected[:1], head, mask[:1])
    assert torch.equal(found[:1], alone)
    for row, last in ((0, length), (1, 33)):
        error = (found[row].double() - expected[row])[:, :last].norm() / expected[row][:, :last].norm()
        assert error < 0.02


def test_numbers_that_are_none_stay_none(attention: FusedSelfAttention) -> None:
    states = torch.randn(2, 40, HIDDEN).bfloat16()
    states[1, 3] = torch.nan
    with torch.inference_mode():
        found = attention.to(torch.bfloat16)(states, None)[0]
    assert found[0].isfinite().all() and found[1].isnan().all()


def test_what_lies_in_padded_places_changes_nothing(attention: FusedSelfAttention) -> None:
    states = torch.randn(1, 40, HIDDEN).bfloat16()
    other = states.clone()
    other[:, 33:] = 30.0
    mask = (torch.arange(40) < 33)[None, None, None].expand(1, 1, 40, 40)
    with torch.inference_mode():
        half = attention.to(torch.bfloat16)
        first, second = half(states, mask)[0], half(other, mask)[0]
    assert torch.equal(first[:, :33], second[:, :33])


def test_gradients_still_flow(attention: FusedSelfAttention) -> None:
    half = attention.to(torch.bfloat16)
    states = torch.randn(1, 64, HIDDEN).bfloat16().requires_grad_()
    half(states)[0].float().sum().backward()
    assert states.grad is not None and states.grad.isfinite().all()
