"""What runs a model on one device: what every backend promises, and the choice among them. Imports none of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

import numpy as np

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.batching import Tokens
from st_ray.models.folder import ModelFolder
from st_ray.models.options import EmbedOptions, LoadOptions, Progress
from st_ray.models.specs import StaticEmbeddingSpec

BACKENDS = ("torch", "openvino")
DTYPES = ("float32", "bfloat16", "float16")


class Backend(Protocol):
    """A loaded model.

    Attributes:
        device: where it runs, as torch names it.
        dimension: of an embedding, before truncation; of a classifier, its labels.
        positions: tokens that a text may have at most; None where nothing bounds them.
        vocabulary: number of token ids that are known; None where nothing bounds them.
    """

    device: str
    dimension: int
    positions: int | None
    vocabulary: int | None

    def embed(self, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None) -> np.ndarray:
        """Embeddings of all texts (logits of all pairs), float32 `[n, options.dimension]`, in their order.

        Args:
            tokens: of n texts; the arrays are only read.
            options: batch sizes, truncation, normalisation.
            on_batch: called with the texts and tokens of every batch, once it is done (on a GPU: under way).
        """


def check_tokens(tokens: Tokens, backend: Backend, path: Path) -> None:
    """Find what a kernel would answer with an index error, or on a GPU with the loss of the process.

    Raises:
        ModelError: a text has more tokens than the model at `path` has positions, or a token is not in its vocabulary.
    """
    longest = int(tokens.lengths.max(initial=0))
    if backend.positions is not None and longest > backend.positions:
        raise ModelError(
            f"a text has {longest} tokens, the model {path} has {backend.positions} positions",
            f"cut texts to {backend.positions} tokens or fewer",
        )
    if backend.vocabulary is not None and tokens.highest_token >= backend.vocabulary:
        raise ModelError(
            f"token {tokens.highest_token} is not in the vocabulary of {path} ({backend.vocabulary} tokens)",
            "use the tokenizer that belongs to the model",
        )


def load_backend(name: str, folder: ModelFolder, options: LoadOptions) -> Backend:
    """Load the model with the backend of that name; `auto` chooses (see `choose_backend`).

    Raises:
        ConfigError: there is no such backend or dtype, it is not installed, or the model is nothing for it.
        ModelError: the model is damaged or incomplete.
    """
    if options.dtype not in DTYPES:
        raise ConfigError(f"dtype is {options.dtype!r}", f"use one of {', '.join(DTYPES)}")
    if name == "auto":
        name = choose_backend(folder, gpu=options.device != "cpu" and _torch_has_gpu())
    if name == "torch":
        from st_ray.models.torch_backend import TorchBackend

        return TorchBackend(folder, options)
    if name == "openvino":
        check_openvino(folder, options.dtype)
        from st_ray.models.openvino_backend import OpenVINOBackend

        return OpenVINOBackend(folder, options)
    raise ConfigError(f"there is no backend {name!r}", f"use auto or one of {', '.join(BACKENDS)}")


def choose_backend(folder: ModelFolder, gpu: bool) -> str:
    """torch on a GPU and for static embeddings; on a CPU OpenVINO where it is installed, else torch."""
    static = isinstance(folder.first, StaticEmbeddingSpec)
    return "torch" if gpu or static or not _openvino_installed() else "openvino"


def check_openvino(folder: ModelFolder, dtype: str) -> None:
    """Raise ConfigError where OpenVINO cannot run this model in this dtype."""
    if not _openvino_installed():
        raise ConfigError("the backend openvino is not installed", "pip install 'st-ray[cpu]', or use --backend torch")
    if isinstance(folder.first, StaticEmbeddingSpec):
        raise ConfigError(f"{folder.path} is a table of embeddings, nothing for OpenVINO", "use --backend torch")
    if dtype == "float16":
        raise ConfigError("OpenVINO does not compute in float16 on CPUs", "use --dtype bfloat16 or --backend torch")


def _openvino_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _torch_has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
