"""A table of one vector a token id, averaged over each text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from st_ray.core.errors import ModelError
from st_ray.models.specs import StaticEmbeddingSpec
from st_ray.models.weights import read_state


class StaticEmbedding(nn.Module):
    """Mean of the vectors of a text's tokens; zeros for a text without tokens."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag.from_pretrained(table, mode="mean")
        self.vocabulary = len(table)

    def forward(self, flat: Tensor, starts: Tensor) -> Tensor:
        """float32 `[rows, dimension]`.

        Args:
            flat: int64 `[tokens]`, the rows one after the other.
            starts: int64 `[rows]`, where each begins.
        """
        out: Tensor = self.bag(flat, starts)
        return out


def load_static(spec: StaticEmbeddingSpec, allow_pickle: bool = False) -> StaticEmbedding:
    """The table in `spec.path`, float32.

    Two layouts exist: `embedding.weight`, and `embeddings` with an optional `mapping` from token id to row and
    optional `weights` per token id.

    Raises:
        ModelError: the weights are damaged or hold neither.
    """
    state = read_state(spec.path, allow_pickle)
    if "embedding.weight" in state:
        return StaticEmbedding(state["embedding.weight"].float())
    if "embeddings" not in state:
        raise ModelError(
            f"the weights in {spec.path} hold {sorted(state)}, expected embedding.weight or embeddings",
            "fetch or save the model again",
        )
    table = state["embeddings"]
    if "mapping" in state:
        table = table[state["mapping"].to(torch.int64)]
    table = table.float()
    if "weights" in state:
        table = table * state["weights"].float()[:, None]
    return StaticEmbedding(table.contiguous())
