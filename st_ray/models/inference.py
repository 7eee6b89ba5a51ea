"""Tokenized texts through a network, batch by batch, with the embeddings back in the order of the texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from st_ray.models.batching import gather_padded, padded_length, token_budget_batches
from st_ray.models.network import SentenceNetwork, TokenBatch
from st_ray.models.static import StaticEmbedding
from st_ray.models.tokenizer import TokenizedTexts

# A static table does so little per token that only the size of the arrays bounds its batches.
_STATIC_TOKENS = 1 << 20
# On a GPU, finished batches wait there for this many, so that their kernels queue up without a pause.
_BATCHES_IN_FLIGHT = 16
# Tokens of the text that tries a network out; some models cannot take a single one.
_PROBE = 8

Progress = Callable[[int, int], None]
Batches = Iterator[tuple[np.ndarray, Tensor]]


@dataclass(frozen=True)
class EmbedOptions:
    """How tokens become embeddings.

    Attributes:
        dimension: leading dimensions of an embedding to keep.
        normalize: scale every embedding to length 1, after truncation.
        batch_tokens: tokens of a batch at most, padding included.
        batch_rows: texts of a batch at most; None for no bound of their own.
    """

    dimension: int
    normalize: bool
    batch_tokens: int
    batch_rows: int | None = None


def default_batch_tokens(device: str | torch.device) -> int:
    """Tokens of a batch that keep `device` busy: caches bound it on a CPU, launch times and memory on a GPU."""
    return 1024 if torch.device(device).type == "cpu" else 16384


@torch.inference_mode()
def embed_tokens(
    network: SentenceNetwork, tokens: TokenizedTexts, options: EmbedOptions, on_batch: Progress | None = None
) -> np.ndarray:
    """Embeddings of all texts, float32 `[n, options.dimension]`, in their order.

    Args:
        network: what to run.
        tokens: of n texts; the arrays are only read.
        options: batch sizes, truncation, normalisation.
        on_batch: called with the texts and tokens of every batch, once it is done (on a GPU: under way).
    """
    out = np.empty((len(tokens), options.dimension), np.float32)
    pending: list[tuple[np.ndarray, Tensor]] = []
    for rows, embeddings in _batches(network, tokens, options):
        embeddings = embeddings[:, : options.dimension]
        pending.append((rows, functional.normalize(embeddings, dim=1) if options.normalize else embeddings))
        if network.device.type == "cpu" or len(pending) == _BATCHES_IN_FLIGHT:
            _collect(pending, out)
        if on_batch is not None:
            on_batch(len(rows), int(tokens.lengths[rows].sum()))
    _collect(pending, out)
    return out


@torch.inference_mode()
def output_dimension(network: SentenceNetwork) -> int:
    """Width of an embedding before truncation, found by running a few tokens through all modules.

    Raises:
        ValueError: the embedding is not finite.
    """
    text = TokenizedTexts(np.zeros(_PROBE, np.int32), np.full(1, _PROBE, np.int32))
    _, embedding = next(_batches(network, text, EmbedOptions(dimension=1, normalize=False, batch_tokens=_PROBE)))
    if not embedding.isfinite().all():
        raise ValueError("the embedding is not finite")
    return int(embedding.shape[1])


def _batches(network: SentenceNetwork, tokens: TokenizedTexts, options: EmbedOptions) -> Batches:
    """Row indices and embeddings of one batch after another."""
    if isinstance(network.first, StaticEmbedding):
        return _flat_batches(network, tokens)
    return _padded_batches(network, tokens, options)


def _padded_batches(network: SentenceNetwork, tokens: TokenizedTexts, options: EmbedOptions) -> Batches:
    ends = np.cumsum(tokens.lengths, dtype=np.int64)
    for rows in token_budget_batches(tokens.lengths, options.batch_tokens, max_rows=options.batch_rows):
        lengths = tokens.lengths[rows].astype(np.int64)
        yield rows, network.embed(_padded(network, tokens, ends[rows] - lengths, lengths))


def _padded(network: SentenceNetwork, tokens: TokenizedTexts, starts: np.ndarray, lengths: np.ndarray) -> TokenBatch:
    # A row without tokens still takes a place for the model to attend to; pooling leaves it out.
    visible = padded_length(lengths, 1)
    width = int(visible.max())
    ids = gather_padded(tokens.flat, starts, lengths, width, network.padding_id)
    mask = None if visible.min() == width else (np.arange(width) < visible[:, None]).astype(np.int64)
    types = None if tokens.type_ids is None else gather_padded(tokens.type_ids, starts, lengths, width, 0)
    return TokenBatch(
        ids=_upload(ids, network.device),
        lengths=_upload(lengths, network.device),
        mask=None if mask is None else _upload(mask, network.device),
        type_ids=None if types is None else _upload(types, network.device),
        prompt_length=tokens.prompt_length,
    )


def _flat_batches(network: SentenceNetwork, tokens: TokenizedTexts) -> Batches:
    ends = np.cumsum(tokens.lengths, dtype=np.int64)
    begun = 0
    while begun < len(ends):
        offset = int(ends[begun - 1]) if begun else 0
        stop = max(begun + 1, int(np.searchsorted(ends, offset + _STATIC_TOKENS, side="right")))
        rows = np.arange(begun, stop)
        flat = tokens.flat[offset : ends[stop - 1]].astype(np.int64)
        starts = ends[rows] - tokens.lengths[rows] - offset
        yield rows, network.embed_flat(_upload(flat, network.device), _upload(starts, network.device))
        begun = stop


def _upload(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _collect(pending: list[tuple[np.ndarray, Tensor]], out: np.ndarray) -> None:
    """Write the waiting batches to their rows of `out`."""
    if pending:
        out[np.concatenate([rows for rows, _ in pending])] = torch.cat([part for _, part in pending]).cpu().numpy()
        pending.clear()
