"""The first layer of the BERT family from tables: its queries, keys and values are looked up, and not computed.

What enters it is a sum of rows that belong to a token's word, its place and its type, less its mean, over its standard
deviation; all that follows up to queries, keys and values is linear. So each row can go through their matrices once and
for all, and the deviation alone is left to be found for each token. That saves a quarter of the first layer's products,
for three more tables of the vocabulary's size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from st_ray.models.bert_layers import as_heads, same_results

# Bytes of the tables of a vocabulary up to which they are made: the larger a model, the less of it is its first layer.
_MOST_BYTES = 256 << 20


class TokensAlone(nn.Module):
    """In the place of the embeddings: hands on which tokens they are, for `LookedUpLayer`."""

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None, **unused: Any) -> Tensor:
        """Ids, and type ids if there are any, int64 `[rows, length, 1 or 2]`."""
        return torch.stack([input_ids] if token_type_ids is None else [input_ids, token_type_ids], -1)


class LookedUpLayer(nn.Module):
    """Embeddings and the layer behind them, in one."""

    def __init__(self, embeddings: Any, layer: Any) -> None:
        super().__init__()
        attention, norm = layer.attention.self, embeddings.LayerNorm
        self.head, self.epsilon = attention.attention_head_size, norm.eps
        self.attended, self.intermediate, self.output = layer.attention.output, layer.intermediate, layer.output
        self._places_of = getattr(embeddings, "create_position_ids_from_input_ids", None)
        self._padding = embeddings.word_embeddings.padding_idx
        words, places, types = (
            table.weight.double()
            for table in (embeddings.word_embeddings, embeddings.position_embeddings, embeddings.token_type_embeddings)
        )
        # A text of one type, as most are, needs no third row.
        rows = [table - table.mean(1, keepdim=True) for table in (words, places + types[0], types - types[0])]
        weight, bias = norm.weight.double(), norm.bias.double()
        self.centred = _SumOfRows(rows)
        self.weight, self.bias = nn.Buffer(weight.float()), nn.Buffer(bias.float())
        self.parts = nn.ModuleList()
        for linear in (attention.query, attention.key, attention.value):
            matrix = linear.weight.double()
            constant = (matrix @ bias + linear.bias.double()).float()
            self.parts.append(_SumOfRows([table @ (matrix * weight).T for table in rows], constant))

    def forward(self, tokens: Tensor, attention_mask: Tensor | None = None, *unused: Any, **more: Any) -> Tensor:
        """What the layer makes of `TokensAlone`, float32 `[rows, length, hidden]`.

        Args:
            tokens: int64 `[rows, length, 1 or 2]`.
            attention_mask: `[rows, 1, length or 1, length]`, or None where nothing is padded.
        """
        ids, *types = tokens.unbind(-1)
        places = None if self._places_of is None else self._places_of(ids, self._padding)
        at = (ids, places, types[0] if types else None)
        centred = self.centred(*at)
        scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + self.epsilon)
        hidden = centred * scale * self.weight + self.bias
        query, key, value = (as_heads(part(*at) * scale + part.constant, self.head) for part in self.parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, attention_mask)
        attended = self.attended(mixed.transpose(1, 2).flatten(2), hidden)
        found: Tensor = self.output(self.intermediate(attended), attended)
        return found


class _SumOfRows(nn.Module):
    """Tables of words, places and types.

    Attributes:
        constant: what the scaled sum lacks, float32 `[width]`, or None where it lacks nothing.
    """

    def __init__(self, tables: list[Tensor], constant: Tensor | None = None) -> None:
        super().__init__()
        self.words, self.places, self.types = (nn.Buffer(table.float()) for table in tables)
        self.register_buffer("constant", constant)

    def forward(self, ids: Tensor, places: Tensor | None, types: Tensor | None) -> Tensor:
        """The sum of a row of each, float32 `[rows, length, width]`; where no places are given, they are in order."""
        at = self.places[: ids.shape[1]] if places is None else functional.embedding(places, self.places)
        found = functional.embedding(ids, self.words) + at
        return found if types is None else found + functional.embedding(types, self.types)


@torch.no_grad()
def look_up_first_layer(model: Any) -> bool:
    """Make the first layer of `model` one that looks up; False, and nothing changed, where that would be something
    else, or its tables too large.

    Args:
        model: on the CPU, in float32, of those that `rewrite_layers` knows and may have rewritten.
    """
    base = getattr(model, model.base_model_prefix, model)
    embeddings, layer = base.embeddings, base.encoder.layer[0]
    # A model with code of its own has parts of its own, and a layer may have been rewritten.
    known = all(type(part).__module__.startswith("transformers.models.") for part in (embeddings, layer))
    # Embeddings of another width than the layers' go through a matrix of their own.
    if not known or hasattr(base, "embeddings_project"):
        return False
    if 3 * 4 * embeddings.word_embeddings.weight.numel() > _MOST_BYTES:
        return False

    def put(first: Any, second: Any) -> None:
        base.embeddings, base.encoder.layer[0] = first, second

    looked_up = LookedUpLayer(embeddings, layer)
    return same_results(base, lambda: put(TokensAlone(), looked_up), lambda: put(embeddings, layer))
