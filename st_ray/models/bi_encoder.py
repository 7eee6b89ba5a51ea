"""Texts to embeddings with one model on one device: the in-memory API, and the half of it that actors run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from st_ray.core.errors import ConfigError
from st_ray.models.backend import check_tokens, load_backend
from st_ray.models.folder import check_weights, read_model_folder
from st_ray.models.options import EmbedOptions, LoadOptions, Progress
from st_ray.models.progress import ProgressBar
from st_ray.models.source import resolve_model
from st_ray.models.tokenizer import TextTokenizer
from st_ray.models.tokens import TokenizedTexts
from st_ray.models.within_memory import BatchBudget
from st_ray.scoring.quantization import PRECISIONS, quantize_embeddings


class BiEncoder:
    """A Sentence Transformers model folder, or a plain transformers one, that encodes texts.

    Attributes:
        folder: what the folder says of itself (modules, prompts, settings).
        device: where the model runs, as torch names it.
        truncate_dim: leading dimensions of an embedding that are kept; None for all.
        load_options: how it was loaded.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        backend: str = "torch",
        dtype: str = "float32",
        threads: int | None = None,
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        file_name: str | None = None,
    ) -> None:
        """Load the model.

        Args:
            model: whatever `resolve_model` takes: a folder, package:NAME, a URL, a hub id.
            device: cpu, cuda, cuda:1, …; None for the GPU where there is one.
            backend: torch; openvino or onnx, for CPUs, which need to be installed; auto for the faster one.
            dtype: arithmetic of the transformer, float32, bfloat16 or float16; embeddings are always float32.
            threads: of a CPU; None for the library's own number.
            max_seq_length: tokens a text is cut to; None for what the model states.
            truncate_dim: leading dimensions to keep; None for what the folder states.
            trust_remote_code: run code that lies in the model folder.
            allow_pickle: load pickled weights where there are no others.
            file_name: of an exported graph in the folder, which the backend runs in place of the weights; None for the
                weights, which the backends openvino and onnx convert on first use.

        Raises:
            ModelError: the folder is missing, damaged, or holds something that is not supported.
            ConfigError: an argument cannot be honoured.
        """
        self.folder = read_model_folder(resolve_model(model, file_name))
        self.truncate_dim = _checked_dim(truncate_dim if truncate_dim is not None else self.folder.truncate_dim)
        check_weights(self.folder, allow_pickle, file_name)
        self.load_options = LoadOptions(device, dtype, threads, trust_remote_code, allow_pickle, file_name)
        self._backend = load_backend(backend, self.folder, self.load_options)
        self._budget = BatchBudget(self._backend.batch_tokens)
        self.device = self._backend.device
        self._trust_remote_code = trust_remote_code
        self._max_seq_length = max_seq_length
        self._check_max_seq_length()

    @property
    def dimension(self) -> int:
        """Of the embeddings, after truncation."""
        return self._kept(self.truncate_dim)

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
        precision: str = "float32",
        convert_to_numpy: bool = True,
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
            batch_size: texts of a batch at most; `batch_tokens` bounds it in any case.
            show_progress_bar: show one on standard error.
            precision: float32, float16, int8, uint8, binary or ubinary; see `quantize_embeddings`, which takes the
                ranges of int8 and uint8 from these very texts.
            convert_to_numpy: give an array; if neither this nor `convert_to_tensor`, a list of tensors.
            convert_to_tensor: give a torch tensor on the model's device instead of an array.
            normalize_embeddings: scale every embedding to length 1, after truncation.
            truncate_dim: leading dimensions to keep; None for the model's own.
            batch_tokens: tokens of a batch at most, padding included; None for the device's default.

        Returns:
            `[n, d]`, or `[d]` for one string; float32 unless another precision was asked for.

        Raises:
            ConfigError: the model has no prompt of that name.
            InputError: a text is not a string.
        """
        if precision not in PRECISIONS:
            raise ConfigError(f"there is no precision {precision!r}", f"use one of {', '.join(PRECISIONS)}")
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        tokens = self.tokenizer.tokenize(texts, self.folder.prompt(prompt, prompt_name))
        options = EmbedOptions(
            dimension=self._kept(_checked_dim(truncate_dim) or self.truncate_dim),
            normalize=normalize_embeddings,
            batch_tokens=_checked_budget(batch_tokens),
            batch_rows=batch_size,
        )
        with ProgressBar(len(texts), "text", shown=bool(show_progress_bar)) as bar:
            embeddings: Any = self._embed(tokens, options, bar.update)
        if precision != "float32":
            embeddings = quantize_embeddings(embeddings, precision)
        found = embeddings[0] if isinstance(sentences, str) else embeddings
        if convert_to_numpy and not convert_to_tensor:
            return found
        import torch

        tensor = torch.from_numpy(found).to(self.device)
        return tensor if convert_to_tensor or isinstance(sentences, str) else list(tensor)

    def encode_query(self, sentences: str | Sequence[str], prompt_name: str | None = None, **options: Any) -> Any:
        """As `encode`, with the model's prompt for queries unless another is given."""
        if prompt_name is None and options.get("prompt") is None:
            prompt_name = "query"
        return self.encode(sentences, prompt_name, **options)

    def encode_document(self, sentences: str | Sequence[str], prompt_name: str | None = None, **options: Any) -> Any:
        """As `encode`, with the model's prompt for documents unless another is given."""
        if prompt_name is None and options.get("prompt") is None:
            prompt_name = "document"
        return self.encode(sentences, prompt_name, **options)

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
            tokens: from a tokenizer of this model; the arrays may be read-only.
            normalize: scale every embedding to length 1, after truncation.
            batch_tokens: tokens of a batch at most, padding included; None for the device's default.
            on_batch: see `Progress`; on a GPU the batch may still be under way.

        Raises:
            OutOfMemoryError: one text alone needs more memory than there is.
            ModelError: a text has more tokens than the model has positions, or a token is not in its vocabulary.
        """
        return self._embed(tokens, EmbedOptions(self.dimension, normalize, _checked_budget(batch_tokens)), on_batch)

    def _embed(self, tokens: TokenizedTexts, options: EmbedOptions, on_batch: Progress | None) -> np.ndarray:
        check_tokens(tokens, self._backend, self.folder.path)
        return self._budget.run(self._backend.embed, tokens, options, on_batch)

    def _kept(self, truncate_dim: int | None) -> int:
        return min(self._backend.dimension, truncate_dim or self._backend.dimension)

    def _check_max_seq_length(self) -> None:
        length, positions = self._max_seq_length, self._backend.positions
        if length is not None and positions is not None and length > positions:
            raise ConfigError(
                f"max_seq_length is {length}, the model {self.folder.path} has {positions} positions",
                f"give {positions} or less",
            )


def _checked_dim(truncate_dim: int | None) -> int | None:
    if truncate_dim is not None and truncate_dim < 1:
        raise ConfigError(f"truncate_dim is {truncate_dim}", "give a number of dimensions above zero")
    return truncate_dim


def _checked_budget(batch_tokens: int | None) -> int | None:
    if batch_tokens is not None and batch_tokens < 1:
        raise ConfigError(f"batch_tokens is {batch_tokens}", "give a number above zero")
    return batch_tokens
