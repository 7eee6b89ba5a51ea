"""Layers of the BERT family, rewritten for inference: the same results up to rounding, by less work.

Queries, keys and values come from one matrix product instead of three. Where nothing but the first token is read at the
end (a classification head, or CLS pooling), the last layer computes that token alone: keys and values are still needed
of all tokens, queries, the feed-forward network and all else of one. Of six layers that saves about a seventh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_FAMILIES = {"bert", "roberta", "xlm-roberta", "camembert", "electra"}
_TOLERANCES = {torch.float32: 1e-4}
# Its exponential is zero, and float16 can hold it.
_MASKED = -1e4
# Scores up to which single operations are faster than torch's own attention in bfloat16; more take too much memory.
_MOST_SCORES = 1 << 25
# Sums of exponentials between which nothing is lost in bfloat16, which has float32's range.
_LEAST_SUM, _MOST_SUM = 1e-30, 1e30


class FusedSelfAttention(nn.Module):
    """Self-attention with one projection to queries, keys and values."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.head = attention.attention_head_size
        self.project = _stacked(attention.query, attention.key, attention.value)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, *unused: Any, **more: Any
    ) -> tuple[Tensor, None]:
        """What the tokens attend to, `[rows, length, hidden]`, and no weights.

        Args:
            hidden_states: `[rows, length, hidden]`.
            attention_mask: `[rows, 1, length or 1, length]`, or None where nothing is padded.
        """
        projected = self.project(hidden_states)
        if _suits_bfloat16(projected, self.head):
            mixed = _attend_in_bfloat16(projected, self.head, attention_mask)
        else:
            query, key, value = (as_heads(part, self.head) for part in projected.chunk(3, -1))
            mixed = functional.scaled_dot_product_attention(query, key, value, attention_mask)
        return mixed.transpose(1, 2).flatten(2), None


class WrittenOutSelfAttention(FusedSelfAttention):
    """The same in single operations.

    Exported to ONNX, `scaled_dot_product_attention` comes with a search for NaN and a mask for each query, which take a
    fifth of the time of long texts.
    """

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, *unused: Any, **more: Any
    ) -> tuple[Tensor, None]:
        """See `FusedSelfAttention.forward`; the mask is a bool, and the same for all queries."""
        query, key, value = (as_heads(part, self.head) for part in self.project(hidden_states).chunk(3, -1))
        mixed = _scores(query, key, attention_mask).softmax(-1) @ value
        return mixed.transpose(1, 2).flatten(2), None


class FirstTokenLayer(nn.Module):
    """A whole layer that gives `[rows, 1, hidden]`: what it makes of the first token."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention = layer.attention.self
        self.head = attention.attention_head_size
        self.query = attention.query
        self.project = _stacked(attention.key, attention.value)
        self.attended, self.intermediate, self.output = layer.attention.output, layer.intermediate, layer.output

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *unused: Any, **more: Any) -> Tensor:
        """The first token's hidden state; arguments as of `FusedSelfAttention`."""
        first = hidden_states[:, :1]
        key, value = (as_heads(part, self.head) for part in self.project(hidden_states).chunk(2, -1))
        mask = None if attention_mask is None else attention_mask[:, :, :1]
        mixed = functional.scaled_dot_product_attention(as_heads(self.query(first), self.head), key, value, mask)
        attended = self.attended(mixed.transpose(1, 2).flatten(2), first)
        found: Tensor = self.output(self.intermediate(attended), attended)
        return found


def masks_padding_only(config: Any) -> bool:
    """Whether the models of a configuration are known to look at every token but padding."""
    return config.model_type in _FAMILIES and not getattr(config, "is_decoder", False)


@torch.no_grad()
def rewrite_layers(
    model: Any, *, first_token: bool, attention: type[FusedSelfAttention] | None = FusedSelfAttention
) -> bool:
    """Rewrite the layers of `model`, which must be on the CPU; False, and nothing changed, where that cannot be done.

    Args:
        first_token: nothing reads the last hidden state of another token than the first.
        attention: what takes the place of self-attention; None to leave it (OpenVINO runs three products and its own
            attention faster than what follows from one).
    """
    config, base = model.config, getattr(model, model.base_model_prefix, model)
    suits = masks_padding_only(config) and config._attn_implementation == "sdpa"
    if not suits or getattr(config, "chunk_size_feed_forward", 0) > 0:
        return False
    layers = base.encoder.layer
    last, attentions = layers[-1], [layer.attention.self for layer in layers]

    def rewrite() -> None:
        for layer, own in zip(layers, attentions, strict=True):
            if attention is not None and (layer is not last or not first_token):
                layer.attention.self = attention(own)
        if first_token:
            layers[-1] = FirstTokenLayer(last)

    def restore() -> None:
        layers[-1] = last
        for layer, own in zip(layers, attentions, strict=True):
            layer.attention.self = own

    return same_results(base, rewrite, restore)


def same_results(base: Any, change: Callable[[], None], undo: Callable[[], None]) -> bool:
    """Change the model `base`; False, and all undone, where what it makes of the first token is then something else."""
    ids = torch.arange(24).reshape(2, 12) % base.config.vocab_size
    mask = (torch.arange(12) < torch.tensor([[12], [7]])).long()
    before = base(input_ids=ids, attention_mask=mask).last_hidden_state[:, :1]
    change()
    after = base(input_ids=ids, attention_mask=mask).last_hidden_state[:, :1]
    tolerance = _TOLERANCES.get(before.dtype, 0.05)
    # Damaged weights say nothing of the layers; the model's own checks name them.
    if torch.allclose(after, before, rtol=tolerance, atol=tolerance) or not before.isfinite().all():
        return True
    undo()
    return False


def _suits_bfloat16(projected: Tensor, head: int) -> bool:
    rows, length, width = projected.shape
    on_cpu = projected.device.type == "cpu" and projected.dtype == torch.bfloat16 and not torch.is_grad_enabled()
    return on_cpu and rows * (width // (3 * head)) * length**2 <= _MOST_SCORES


def _attend_in_bfloat16(projected: Tensor, head: int, mask: Tensor | None) -> Tensor:
    """Attention by products of whole matrices, which CPUs have instructions for; torch's own goes by small blocks.

    A softmax is a sum of exponentials that they are divided by. Without the shift by the greatest score, which keeps
    them within a float's range, it takes a third of the time; rows of scores beyond that range are done again with it.

    Args:
        projected: `[rows, length, 3 * hidden]`, queries, keys and values.
        head: size of a head.
        mask: as of `FusedSelfAttention`, the same for all queries.

    Returns:
        `[rows, heads, length, head]`.
    """
    visible = None
    if mask is not None:
        # Zeros in padded places: no number there, however large, is seen by the others.
        visible = mask[:, 0, 0, :, None].to(projected.dtype)
        projected = projected * visible
    query, key, value = (as_heads(part, head) for part in projected.chunk(3, -1))
    weights = ((query * head**-0.5) @ key.transpose(-1, -2)).exp_()
    ones = value.new_ones(()) if visible is None else visible[:, None]
    # With a column of ones, the product gives the sums too.
    mixed, total = (weights @ torch.cat([value, ones.expand(*value.shape[:3], 1)], -1)).split((head, 1), -1)
    found = mixed / total
    within = ((total > _LEAST_SUM) & (total < _MOST_SUM)).flatten(1).all(1)
    if not within.all():
        again = ~within
        scores = _scores(query[again], key[again], None if mask is None else mask[again])
        found[again] = torch.softmax(scores, -1, out=scores) @ value[again]
    return found


def _scores(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """What the softmax is taken of; the mask is a bool, and the same for all queries."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        # In place: a second array of them takes a quarter of the time of a model.
        scores += torch.where(mask[:, :, :1], 0.0, _MASKED).to(scores.dtype)
    return scores


def _stacked(*linears: nn.Linear) -> nn.Linear:
    """One layer that gives the outputs of all, side by side."""
    made = nn.Linear(linears[0].in_features, sum(linear.out_features for linear in linears))
    made.weight = nn.Parameter(torch.cat([linear.weight for linear in linears]), requires_grad=False)
    made.bias = nn.Parameter(torch.cat([linear.bias for linear in linears]), requires_grad=False)
    return made


def as_heads(states: Tensor, size: int) -> Tensor:
    """`[rows, length, hidden]` as `[rows, heads, length, size]`."""
    return states.unflatten(-1, (-1, size)).transpose(1, 2)
