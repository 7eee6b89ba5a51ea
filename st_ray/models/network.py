"""All modules of a model folder in a row: tokens in, one float32 vector a text out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from st_ray.core.errors import ModelError
from st_ray.models.folder import ModelFolder
from st_ray.models.heads import Normalize, load_head
from st_ray.models.packed_linear import pack_linears
from st_ray.models.pooling import Pooling
from st_ray.models.specs import DenseSpec, LayerNormSpec, ModuleSpec, NormalizeSpec, PoolingSpec, TransformerSpec
from st_ray.models.static import StaticEmbedding, load_static
from st_ray.models.transformer import Transformer, load_transformer


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens, padded on the right.

    Attributes:
        ids: int64 `[rows, length]`.
        lengths: int64 `[rows]`, tokens of each row.
        mask: 1 for tokens, 0 for padding, `[rows, length]`; None where nothing is padded.
        type_ids: int64 `[rows, length]`, or None where all are zero.
        prompt_length: tokens at the start of each row that belong to the prompt.
    """

    ids: Tensor
    lengths: Tensor
    mask: Tensor | None = None
    type_ids: Tensor | None = None
    prompt_length: int = 0


@dataclass(frozen=True)
class Step:
    """A module behind the first one, and the features it reads and writes."""

    module: nn.Module
    reads: str
    writes: str


class SentenceNetwork:
    """The network of a model folder on one device. The transformer computes in `dtype`, all else in float32."""

    def __init__(
        self, folder: ModelFolder, device: torch.device, dtype: torch.dtype, trust_remote_code: bool, allow_pickle: bool
    ) -> None:
        self.device = device
        self._autocast: torch.dtype | None = None
        first = folder.first
        self.first: Transformer | StaticEmbedding
        if isinstance(first, TransformerSpec):
            self.first = self._transformer(first, dtype, trust_remote_code, allow_pickle)
        else:
            self.first = load_static(first, allow_pickle)
        self.first.to(device)
        self._steps = [_step(spec, device, allow_pickle) for spec in folder.modules[1:]]

    def embed(self, batch: TokenBatch) -> Tensor:
        """Embeddings of tokenized texts through a transformer, float32 `[rows, d]`."""
        cast = torch.autocast(self.device.type, self._autocast) if self._autocast else nullcontext()
        with cast:
            tokens = self.first(batch.ids, batch.mask, batch.type_ids)
        return self._finish({"token_embeddings": tokens}, batch.lengths, batch.prompt_length)

    def embed_flat(self, flat: Tensor, starts: Tensor) -> Tensor:
        """Embeddings through a static table, float32 `[rows, d]`; see `StaticEmbedding.forward`."""
        return self._finish({"sentence_embedding": self.first(flat, starts)}, starts, 0)

    def _transformer(
        self, spec: TransformerSpec, dtype: torch.dtype, trust_remote_code: bool, allow_pickle: bool
    ) -> Transformer:
        if self.device.type != "cpu":
            return load_transformer(spec, dtype, trust_remote_code, allow_pickle)
        # On a CPU, autocast over float32 weights is as fast as half weights and stays closer to float32.
        transformer = load_transformer(spec, torch.float32, trust_remote_code, allow_pickle)
        self._autocast = None if dtype == torch.float32 else dtype
        if dtype != torch.float16:
            pack_linears(transformer, dtype)
        return transformer

    def _finish(self, features: dict[str, Tensor], lengths: Tensor, prompt_length: int) -> Tensor:
        for step in self._steps:
            value = features[step.reads]
            if isinstance(step.module, Pooling):
                features[step.writes] = step.module(value, lengths, prompt_length)
            else:
                features[step.writes] = step.module(value)
        return features["sentence_embedding"]


def _step(spec: ModuleSpec, device: torch.device, allow_pickle: bool) -> Step:
    if isinstance(spec, PoolingSpec):
        return Step(Pooling(spec.modes, spec.include_prompt), "token_embeddings", "sentence_embedding")
    if isinstance(spec, NormalizeSpec):
        return Step(Normalize(), spec.reads, spec.writes)
    if isinstance(spec, (DenseSpec, LayerNormSpec)):
        head = load_head(spec, allow_pickle).eval().to(device)
        dense = isinstance(spec, DenseSpec)
        return Step(head, spec.reads if dense else "sentence_embedding", spec.writes if dense else "sentence_embedding")
    raise ModelError(f"{type(spec).__name__} cannot stand behind the first module")
