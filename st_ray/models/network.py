"""All modules of a model folder in a row: tokens in, one float32 vector a text (or the logits of a pair) out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from st_ray.models.bert_layers import FusedSelfAttention, rewrite_layers
from st_ray.models.first_layer import look_up_first_layer
from st_ray.models.folder import ModelFolder
from st_ray.models.packed_linear import pack_linears
from st_ray.models.specs import ClassifierSpec, PoolingSpec, TransformerSpec
from st_ray.models.static import StaticEmbedding, load_static
from st_ray.models.tail import Tail
from st_ray.models.transformer import Classifier, Transformer, load_classifier, load_transformer


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens, padded on the right.

    Attributes:
        ids: int64 `[rows, length]`.
        lengths: int64 `[rows]`, tokens of each row.
        mask: int64 `[rows, length]`, 1 for tokens and 0 for padding; None where nothing is padded.
        type_ids: int64 `[rows, length]`, or None where all are zero.
        prompt_length: tokens at the start of each row that belong to the prompt.
    """

    ids: Tensor
    lengths: Tensor
    mask: Tensor | None = None
    type_ids: Tensor | None = None
    prompt_length: int = 0


@dataclass(frozen=True)
class Precision:
    """Weights of the transformer, and the autocast it runs under (None: none)."""

    weights: torch.dtype
    autocast: torch.dtype | None = None

    @classmethod
    def on(cls, device: torch.device, dtype: torch.dtype) -> Precision:
        """The fastest way to compute in `dtype` on `device`."""
        if device.type != "cpu":
            return cls(dtype)
        # Over float32 weights, autocast is about as fast as half weights here, and closer to float32.
        return cls(torch.float32, None if dtype == torch.float32 else dtype)


class SentenceNetwork(nn.Module):
    """The modules of a folder on one device. The transformer computes in `dtype`, all others in float32.

    Attributes:
        first: takes the tokens.
        positions: tokens that a row may have at most; None where nothing bounds them.
        vocabulary: number of token ids that are known; None where nothing bounds them.
        padding_id: what to fill padded places with.
        masks_padding_only: attention is known to look at every token but padding.
    """

    def __init__(
        self,
        folder: ModelFolder,
        device: torch.device,
        dtype: torch.dtype,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        *,
        for_openvino: bool = False,
    ) -> None:
        """Load all modules.

        On the CPU, weights are laid out for torch's matrix kernels (see `packed_linear`) and attention is rewritten for
        them (see `bert_layers`), unless it is `for_openvino`, which does that itself; then the first layer is looked up
        (see `first_layer`).
        """
        super().__init__()
        self.device = device
        self.first: Transformer | Classifier | StaticEmbedding
        self.positions: int | None = None
        self.padding_id = 0
        self.masks_padding_only = False
        self._autocast: torch.dtype | None = None
        spec = folder.first
        if isinstance(spec, TransformerSpec):
            precision = Precision.on(device, dtype)
            self._autocast = precision.autocast
            loading = (precision.weights, trust_remote_code, allow_pickle)
            if isinstance(spec, ClassifierSpec):
                self.first = load_classifier(spec, *loading)
            else:
                self.first = load_transformer(spec, *loading)
            poolings = {module for module in folder.modules if isinstance(module, PoolingSpec)}
            self.masks_padding_only = rewrite_layers(
                self.first.model,
                first_token=poolings <= {PoolingSpec(("cls",))},
                attention=None if for_openvino else FusedSelfAttention,
            )
            self.positions, self.padding_id = self.first.positions, self.first.padding_id
            if for_openvino and self.masks_padding_only:
                look_up_first_layer(self.first.model)
            elif not for_openvino and device.type == "cpu" and dtype != torch.float16:
                pack_linears(self.first, dtype)
        else:
            self.first = load_static(spec, allow_pickle)
        self.vocabulary = self.first.vocabulary
        self.first.to(device)
        self.rest = Tail(folder.modules[1:], device, allow_pickle)
        self.eval()

    def embed(self, batch: TokenBatch) -> Tensor:
        """Embeddings of tokens through a transformer, float32 `[rows, d]`; of a classifier, its logits."""
        with torch.autocast(self.device.type, self._autocast) if self._autocast else nullcontext():
            found = self.first(batch.ids, batch.mask, batch.type_ids)
        if isinstance(self.first, Classifier):
            return found
        return self.rest(found, batch.lengths, batch.prompt_length)

    def embed_flat(self, flat: Tensor, starts: Tensor) -> Tensor:
        """Embeddings of tokens through a static table, float32 `[rows, d]`; see `StaticEmbedding.forward`."""
        return self.rest.of_sentences(self.first(flat, starts))
