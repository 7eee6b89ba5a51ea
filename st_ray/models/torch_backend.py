"""Models with torch: tokenized texts through a network, batch by batch, with the embeddings in the texts' order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.batching import Tokens, padded_batches
from st_ray.models.folder import ModelFolder
from st_ray.models.network import SentenceNetwork, TokenBatch
from st_ray.models.options import EmbedOptions, LoadOptions, Progress
from st_ray.models.static import StaticEmbedding
from st_ray.models.tokens import TokenizedTexts

# A static table does so little per token that only the size of the arrays bounds its batches.
_STATIC_TOKENS = 1 << 20
# On a GPU, finished batches wait there for this many, so that their kernels queue up without a pause.
_BATCHES_IN_FLIGHT = 16
# Tokens of the text that tries a network out; some models cannot take a single one.
_PROBE = 8

Batches = Iterator[tuple[np.ndarray, int, Tensor]]


class TorchBackend:
    """A `Backend` on a CPU or a GPU."""

    def __init__(self, folder: ModelFolder, options: LoadOptions) -> None:
        device = _device(options.device)
        self.device = str(device)
        self._threads = options.threads
        self._network = SentenceNetwork(
            folder, device, getattr(torch, options.dtype), options.trust_remote_code, options.allow_pickle
        )
        self.batch_tokens = default_batch_tokens(device)
        self.positions, self.vocabulary = self._network.positions, self._network.vocabulary
        self.dimension = _probed_dimension(self._network, folder)

    def embed(self, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None) -> np.ndarray:
        """See `Backend.embed`."""
        if self._threads is not None:
            # OpenMP keeps the number for each calling thread, Ray starts the process with its own, and Ray Data calls
            # an actor from a thread that did not build it: set once, it would hold for the building alone.
            torch.set_num_threads(self._threads)
        return embed_tokens(self._network, tokens, options, on_batch)


def default_batch_tokens(device: str | torch.device) -> int:
    """Tokens of a batch that keep `device` busy: caches bound it on a CPU, launch times and memory on a GPU."""
    return 1024 if torch.device(device).type == "cpu" else 16384


@torch.inference_mode()
def embed_tokens(
    network: SentenceNetwork, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None
) -> np.ndarray:
    """Embeddings of all texts, float32 `[n, options.dimension]`, in their order.

    Args:
        network: what to run.
        tokens: of n texts; the arrays are only read.
        options: batch sizes, truncation, normalisation.
        on_batch: see `Progress`; on a GPU the batch may still be under way.
    """
    out = np.empty((len(tokens), options.dimension), np.float32)
    lengths = tokens.lengths
    pending: list[tuple[np.ndarray, Tensor]] = []
    for rows, places, embeddings in _batches(network, tokens, options):
        embeddings = embeddings[:, : options.dimension]
        pending.append((rows, functional.normalize(embeddings, dim=1) if options.normalize else embeddings))
        if network.device.type == "cpu" or len(pending) == _BATCHES_IN_FLIGHT:
            _collect(pending, out)
        if on_batch is not None:
            on_batch(len(rows), int(lengths[rows].sum()), places)
    _collect(pending, out)
    return out


@torch.inference_mode()
def output_dimension(network: SentenceNetwork) -> int:
    """Width of an embedding before truncation, found by running a few tokens through all modules.

    Raises:
        ValueError: the embedding is not finite.
    """
    text = TokenizedTexts(np.zeros(_PROBE, np.int32), np.full(1, _PROBE, np.int32))
    *_, embedding = next(_batches(network, text, EmbedOptions(dimension=1)))
    if not embedding.isfinite().all():
        raise ValueError("the embedding is not finite")
    return int(embedding.shape[1])


def _batches(network: SentenceNetwork, tokens: Tokens, options: EmbedOptions) -> Batches:
    """Row indices, places (padding included) and embeddings of one batch after another."""
    if isinstance(network.first, StaticEmbedding) and isinstance(tokens, TokenizedTexts):
        return _flat_batches(network, tokens)
    return _padded_batches(network, tokens, options)


def _padded_batches(network: SentenceNetwork, tokens: Tokens, options: EmbedOptions) -> Batches:
    budget = options.batch_tokens or default_batch_tokens(network.device)
    even = network.device.type == "cpu"
    for batch in padded_batches(tokens, budget, network.padding_id, options.batch_rows, even=even):
        yield (
            batch.rows,
            batch.ids.size,
            network.embed(
                TokenBatch(
                    ids=_upload(batch.ids, network.device),
                    lengths=_upload(batch.lengths, network.device),
                    mask=None if batch.mask is None else _upload(batch.mask, network.device),
                    type_ids=None if batch.type_ids is None else _upload(batch.type_ids, network.device),
                    prompt_length=tokens.prompt_length,
                )
            ),
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
        yield rows, len(flat), network.embed_flat(_upload(flat, network.device), _upload(starts, network.device))
        begun = stop


def _upload(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _collect(pending: list[tuple[np.ndarray, Tensor]], out: np.ndarray) -> None:
    """Write the waiting batches to their rows of `out`."""
    if pending:
        out[np.concatenate([rows for rows, _ in pending])] = torch.cat([part for _, part in pending]).cpu().numpy()
        pending.clear()


def _probed_dimension(network: SentenceNetwork, folder: ModelFolder) -> int:
    try:
        return output_dimension(network)
    except (RuntimeError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise ModelError(
            f"a text cannot be run through the modules of {folder.path}: {type(error).__name__}: {error}",
            "fetch or save the model again, or use a model that is made for sentence embeddings",
        ) from error


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no device {name!r}: {error}", "use cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"torch sees no device {name!r} ({torch.cuda.device_count()} GPUs)", "use cpu")
    return device
