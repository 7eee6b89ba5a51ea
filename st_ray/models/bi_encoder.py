"""Texts to embeddings with one model on one device: the in-memory API, and the half of it that actors run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.batching import gather_padded, padded_length, token_budget_batches
from st_ray.models.folder import check_weights, read_model_folder
from st_ray.models.network import SentenceNetwork, TokenBatch
from st_ray.models.source import resolve_model
from st_ray.models.static import StaticEmbedding
from st_ray.models.tokenizer import TextTokenizer, TokenizedTexts

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A static table does so little per token that only the size of the arrays bounds its batches.
_STATIC_TOKENS = 1 << 20
# On a GPU, batches wait there for this many, so that their kernels queue up without a pause.
_BATCHES_IN_FLIGHT = 16

Progress = Callable[[int, int], None]


def default_batch_tokens(device: str | torch.device) -> int:
    """Tokens of a batch, padding included, that keep `device` busy: caches bound it on a CPU, memory on a GPU."""
    return 1024 if torch.device(device).type == "cpu" else 16384


class BiEncoder:
    """A Sentence Transformers model folder, or a plain transformers one, that encodes texts.

    Attributes:
        folder: what the folder says of itself (modules, prompts, settings).
        device: where the model runs.
        truncate_dim: leading dimensions of an embedding that are kept; None for all.
        dimension: of the embeddings, after truncation.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        dtype: str = "float32",
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        """Load the model.

        Args:
            model: whatever `resolve_model` takes: a folder, package:NAME, a URL, a hub id.
            device: cpu, cuda, cuda:1, …; None for the GPU where there is one.
            dtype: arithmetic of the transformer, float32, bfloat16 or float16; embeddings are always float32.
            max_seq_length: tokens a text is cut to; None for what the model states.
            truncate_dim: leading dimensions to keep; None for what the folder states.
            trust_remote_code: run code that lies in the model folder.
            allow_pickle: load pickled weights where there are no others.

        Raises:
            ModelError: the folder is missing, damaged, or holds something that is not supported.
            ConfigError: an argument cannot be honoured.
        """
        if dtype not in DTYPES:
            raise ConfigError(f"dtype is {dtype!r}", f"use one of {', '.join(DTYPES)}")
        self.folder = read_model_folder(resolve_model(model))
        check_weights(self.folder, allow_pickle)
        self.device = _device(device)
        self._trust_remote_code = trust_remote_code
        self._max_seq_length = max_seq_length
        self._network = SentenceNetwork(self.folder, self.device, DTYPES[dtype], trust_remote_code, allow_pickle)
        self._check_max_seq_length()
        self._full_dimension = self._probe()
        self.truncate_dim = _checked_dim(truncate_dim if truncate_dim is not None else self.folder.truncate_dim)
        self.dimension = min(self._full_dimension, self.truncate_dim or self._full_dimension)

    @property
    def similarity_fn_name(self) -> str:
        """cosine, dot, euclidean or manhattan: how the model's embeddings are meant to be compared."""
        return self.folder.similarity_fn_name

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The folder's tokenizer, loaded when first asked for."""
        return TextTokenizer(self.folder, self._max_seq_length, self._trust_remote_code)

    def encode(
        self,
        sentences: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        *,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        batch_tokens: int | None = None,
    ) -> Any:
        """Embeddings of the texts, in their order.

        Args:
            sentences: texts; one string gives one vector.
            prompt_name: name of one of the model's prompts, to put before every text.
            prompt: the prompt itself; wins over `prompt_name`.
            batch_size: texts of a batch at most; batches are bounded by `batch_tokens` in any case.
            show_progress_bar: show one on standard error.
            convert_to_tensor: give a torch tensor on the model's device.
            normalize_embeddings: scale every embedding to length 1, after truncation.
            truncate_dim: leading dimensions to keep; None for the model's own.
            batch_tokens: tokens of a batch, padding included; None for the device's default.

        Returns:
            float32 `[n, d]`, or `[d]` for one string.

        Raises:
            ConfigError: the model has no prompt of that name.
            InputError: a text is not a string.
        """
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        tokens = self.tokenizer.tokenize(texts, self.folder.prompt(prompt, prompt_name))
        with _ProgressBar(len(texts), shown=bool(show_progress_bar)) as bar:
            embeddings = self._encode(
                tokens,
                normalize=normalize_embeddings,
                dimension=_checked_dim(truncate_dim if truncate_dim is not None else self.truncate_dim),
                batches=token_budget_batches(tokens.lengths, self._budget(batch_tokens), max_rows=batch_size),
                on_batch=bar,
            )
        if single:
            embeddings = embeddings[0]
        return torch.from_numpy(embeddings).to(self.device) if convert_to_tensor else embeddings

    def encode_query(self, sentences: str | Sequence[str], prompt_name: str | None = None, **kwargs: Any) -> Any:
        """As `encode`, with the model's prompt for queries unless another is given."""
        if prompt_name is None and kwargs.get("prompt") is None:
            prompt_name = "query"
        return self.encode(sentences, prompt_name, **kwargs)

    def encode_document(self, sentences: str | Sequence[str], prompt_name: str | None = None, **kwargs: Any) -> Any:
        """As `encode`, with the model's prompt for documents unless another is given."""
        if prompt_name is None and kwargs.get("prompt") is None:
            prompt_name = "document"
        return self.encode(sentences, prompt_name, **kwargs)

    def encode_tokenized(
        self,
        tokens: TokenizedTexts,
        *,
        normalize: bool = False,
        batch_tokens: int | None = None,
        on_batch: Progress | None = None,
    ) -> np.ndarray:
        """Embeddings of tokenized texts, float32 `[n, dimension]`, in their order.

        Args:
            tokens: from a tokenizer of this model.
            normalize: scale every embedding to length 1, after truncation.
            batch_tokens: tokens of a batch, padding included; None for the device's default.
            on_batch: called with the texts and tokens of every finished batch.

        Raises:
            ModelError: a text has more tokens than the model has positions, or a token is not in its vocabulary.
        """
        batches = token_budget_batches(tokens.lengths, self._budget(batch_tokens))
        return self._encode(tokens, normalize, self.truncate_dim, batches, on_batch)

    @torch.inference_mode()
    def _encode(
        self,
        tokens: TokenizedTexts,
        normalize: bool,
        dimension: int | None,
        batches: list[np.ndarray],
        on_batch: Progress | None,
    ) -> np.ndarray:
        self._check_tokens(tokens)
        kept = min(self._full_dimension, dimension or self._full_dimension)
        out = np.empty((len(tokens), kept), np.float32)
        static = isinstance(self._network.first, StaticEmbedding)
        pending: list[tuple[np.ndarray, Tensor]] = []
        for rows, embeddings in self._static_batches(tokens) if static else self._batches(tokens, batches):
            embeddings = embeddings[:, :kept]
            pending.append((rows, functional.normalize(embeddings, dim=1) if normalize else embeddings))
            if self.device.type == "cpu" or len(pending) == _BATCHES_IN_FLIGHT:
                _collect(pending, out)
            if on_batch is not None:
                on_batch(len(rows), int(tokens.lengths[rows].sum()))
        _collect(pending, out)
        return out

    def _batches(self, tokens: TokenizedTexts, batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, Tensor]]:
        ends = np.cumsum(tokens.lengths, dtype=np.int64)
        for rows in batches:
            lengths = tokens.lengths[rows].astype(np.int64)
            yield rows, self._network.embed(self._batch(tokens, ends[rows] - lengths, lengths))

    def _batch(self, tokens: TokenizedTexts, starts: np.ndarray, lengths: np.ndarray) -> TokenBatch:
        # A row without tokens still takes a place for the model to attend to; pooling leaves it out.
        visible = padded_length(lengths, 1)
        width = int(visible.max())
        padding = self._network.first.padding_id
        mask = np.arange(width) < visible[:, None] if visible.min() < width else None
        return TokenBatch(
            ids=self._upload(gather_padded(tokens.flat, starts, lengths, width, padding)),
            lengths=self._upload(lengths),
            mask=None if mask is None else self._upload(mask.astype(np.int64)),
            type_ids=None
            if tokens.type_ids is None
            else self._upload(gather_padded(tokens.type_ids, starts, lengths, width, 0)),
            prompt_length=tokens.prompt_length,
        )

    def _static_batches(self, tokens: TokenizedTexts) -> Iterator[tuple[np.ndarray, Tensor]]:
        ends = np.cumsum(tokens.lengths, dtype=np.int64)
        begun = 0
        while begun < len(ends):
            offset = int(ends[begun - 1]) if begun else 0
            stop = max(begun + 1, int(np.searchsorted(ends, offset + _STATIC_TOKENS, side="right")))
            rows = np.arange(begun, stop)
            flat = tokens.flat[offset : ends[stop - 1]].astype(np.int64)
            starts = ends[rows] - tokens.lengths[rows] - offset
            yield rows, self._network.embed_flat(self._upload(flat), self._upload(starts))
            begun = stop

    def _upload(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def _budget(self, batch_tokens: int | None) -> int:
        if batch_tokens is not None and batch_tokens < 1:
            raise ConfigError(f"batch_tokens is {batch_tokens}", "give a number above zero")
        return batch_tokens or default_batch_tokens(self.device)

    def _check_tokens(self, tokens: TokenizedTexts) -> None:
        first = self._network.first
        longest, limit = int(tokens.lengths.max(initial=0)), getattr(first, "positions", None)
        if limit is not None and longest > limit:
            raise ModelError(
                f"a text has {longest} tokens, the model {self.folder.path} has {limit} positions",
                f"set max_seq_length to {limit} or less",
            )
        highest = int(tokens.flat.max(initial=0))
        if first.vocabulary is not None and highest >= first.vocabulary:
            raise ModelError(
                f"token {highest} is not in the vocabulary of {self.folder.path} ({first.vocabulary} tokens)",
                "use the tokenizer that belongs to the model",
            )

    def _check_max_seq_length(self) -> None:
        limit = getattr(self._network.first, "positions", None)
        if self._max_seq_length is not None and limit is not None and self._max_seq_length > limit:
            raise ConfigError(
                f"max_seq_length is {self._max_seq_length}, the model {self.folder.path} has {limit} positions",
                f"give {limit} or less",
            )

    @torch.inference_mode()
    def _probe(self) -> int:
        """Run one token through all modules: they fit together, and the width of what comes out is known."""
        token = TokenizedTexts(np.zeros(1, np.int32), np.ones(1, np.int32))
        try:
            if isinstance(self._network.first, StaticEmbedding):
                return next(self._static_batches(token))[1].shape[1]
            return next(self._batches(token, [np.zeros(1, np.int64)]))[1].shape[1]
        except (RuntimeError, AttributeError, TypeError, ValueError) as error:
            raise ModelError(
                f"the modules of {self.folder.path} do not work together: {error}", "fetch or save the model again"
            ) from error


class _ProgressBar:
    """A bar over texts, or nothing."""

    def __init__(self, texts: int, shown: bool) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=texts, unit="text", disable=not shown)

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, rows: int, tokens: int) -> None:
        self._bar.update(rows)


def _collect(pending: list[tuple[np.ndarray, Tensor]], out: np.ndarray) -> None:
    """Write finished batches to their rows of `out`."""
    if pending:
        out[np.concatenate([rows for rows, _ in pending])] = torch.cat([tensor for _, tensor in pending]).cpu().numpy()
        pending.clear()


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


def _checked_dim(truncate_dim: int | None) -> int | None:
    if truncate_dim is not None and truncate_dim < 1:
        raise ConfigError(f"truncate_dim is {truncate_dim}", "give a number of dimensions above zero")
    return truncate_dim
