"""The modules of a folder behind its first one, in a row: token embeddings in, one float32 vector a text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from st_ray.core.errors import ModelError
from st_ray.models.heads import Normalize, load_head
from st_ray.models.pooling import Pooling
from st_ray.models.specs import DenseSpec, LayerNormSpec, ModuleSpec, NormalizeSpec, PoolingSpec


class Tail(nn.Module):
    """Pooling, Dense, LayerNorm and Normalize, as the folder lists them; all in float32."""

    def __init__(self, specs: Sequence[ModuleSpec], device: torch.device, allow_pickle: bool = False) -> None:
        super().__init__()
        self._steps = [_step(spec, device, allow_pickle) for spec in specs]
        self.modules_in_order = nn.ModuleList(step.module for step in self._steps)

    def forward(self, states: Tensor, lengths: Tensor, prompt_length: int = 0) -> Tensor:
        """Embeddings, float32 `[rows, d]`.

        Args:
            states: of tokens, `[rows, length, hidden]`.
            lengths: int64 `[rows]`, tokens of each row.
            prompt_length: tokens at the start of each row that belong to the prompt.
        """
        return self._run({"token_embeddings": states}, lengths, prompt_length)

    def of_sentences(self, embeddings: Tensor) -> Tensor:
        """The same from embeddings that need no pooling, `[rows, hidden]`."""
        return self._run({"sentence_embedding": embeddings}, embeddings, 0)

    def _run(self, features: dict[str, Tensor], lengths: Tensor, prompt_length: int) -> Tensor:
        for step in self._steps:
            value = features[step.reads]
            if isinstance(step.module, Pooling):
                features[step.writes] = step.module(value, lengths, prompt_length)
            else:
                features[step.writes] = step.module(value)
        return features["sentence_embedding"]


@dataclass(frozen=True)
class _Step:
    """A module behind the first one, and the features it reads and writes."""

    module: nn.Module
    reads: str = "sentence_embedding"
    writes: str = "sentence_embedding"


def _step(spec: ModuleSpec, device: torch.device, allow_pickle: bool) -> _Step:
    if isinstance(spec, PoolingSpec):
        return _Step(Pooling(spec.modes, spec.include_prompt), reads="token_embeddings")
    if isinstance(spec, NormalizeSpec):
        return _Step(Normalize(), spec.reads, spec.writes)
    if isinstance(spec, DenseSpec):
        return _Step(load_head(spec, allow_pickle).eval().to(device), spec.reads, spec.writes)
    if isinstance(spec, LayerNormSpec):
        return _Step(load_head(spec, allow_pickle).eval().to(device))
    raise ModelError(f"{type(spec).__name__} cannot stand behind the first module")
