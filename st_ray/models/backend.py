"""What runs a model on one device: what every backend promises, and the choice among them. Imports none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from st_ray.core.environment import is_installed
from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.batching import Tokens
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_files import find_graph
from st_ray.models.loading import LOADING
from st_ray.models.options import EmbedOptions, LoadOptions, Progress
from st_ray.models.specs import StaticEmbeddingSpec

BACKENDS = ("torch", "openvino", "onnx")
DTYPES = ("float32", "bfloat16", "float16")
ON_CPUS = frozenset({"openvino", "onnx"})
"""Backends that know no GPU."""
CPUS_TOGETHER = {"openvino": 4}
"""Threads of one process that do as much as so many processes: each has batches of its own. More would wait for Python,
which makes the batches."""
_COMPUTED = {"openvino": ("float32", "bfloat16"), "onnx": ("float32",)}
_PACKAGES = {"openvino": ("openvino", "cpu", "OpenVINO"), "onnx": ("onnxruntime", "onnx", "ONNX Runtime")}
"""The package that a backend needs, the extra that brings it, and its name for people."""


class Backend(Protocol):
    """A loaded model.

    Attributes:
        device: where it runs, as torch names it.
        dimension: of an embedding, before truncation; of a classifier, its labels.
        positions: tokens that a text may have at most; None where nothing bounds them.
        vocabulary: number of token ids that are known; None where nothing bounds them.
        batch_tokens: tokens of a batch that suit it.
    """

    device: str
    dimension: int
    positions: int | None
    vocabulary: int | None
    batch_tokens: int

    def embed(self, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None) -> np.ndarray:
        """Embeddings of all texts (logits of all pairs), float32 `[n, options.dimension]`, in their order.

        Args:
            tokens: of n texts; the arrays are only read.
            options: batch sizes, truncation, normalisation.
            on_batch: see `Progress`; on a GPU the batch may still be under way.
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
    with LOADING:
        return _load(name, folder, options)


def _load(name: str, folder: ModelFolder, options: LoadOptions) -> Backend:
    if options.dtype not in DTYPES:
        raise ConfigError(f"dtype is {options.dtype!r}", f"use one of {', '.join(DTYPES)}")
    if name == "auto":
        name = choose_backend(folder, options.device != "cpu" and _torch_has_gpu(), options.file_name)
    check_backend(name, folder, options.dtype, options.file_name)
    if name == "torch":
        from st_ray.models.torch_backend import TorchBackend

        return TorchBackend(folder, options)
    if options.device not in (None, "cpu"):
        raise ConfigError(f"the backend {name} runs on CPUs, not on {options.device!r}", "use the backend torch")
    if name == "openvino":
        from st_ray.models.openvino_backend import OpenVINOBackend

        return OpenVINOBackend(folder, options)
    from st_ray.models.onnx_backend import OnnxBackend

    return OnnxBackend(folder, options)


def choose_backend(folder: ModelFolder, gpu: bool, file_name: str | None = None) -> str:
    """torch on a GPU and for static embeddings; on a CPU OpenVINO where it is installed, else torch.

    An exported graph's name tells its backend.
    """
    if file_name is not None:
        return "onnx" if file_name.endswith(".onnx") else "openvino"
    static = isinstance(folder.first, StaticEmbeddingSpec)
    return "torch" if gpu or static or not is_installed("openvino") else "openvino"


def check_backend(name: str, folder: ModelFolder, dtype: str, file_name: str | None = None) -> None:
    """Raise ConfigError where there is no such backend here, or it cannot run this model or graph in this dtype."""
    if name not in BACKENDS:
        raise ConfigError(f"there is no backend {name!r}", f"use auto or one of {', '.join(BACKENDS)}")
    if file_name is not None:
        find_graph(folder.path, name, file_name)
    if name == "torch":
        return
    package, extra, title = _PACKAGES[name]
    if not is_installed(package):
        raise ConfigError(
            f"the backend {name} is not installed", f"pip install 'st-ray[{extra}]', or use --backend torch"
        )
    if isinstance(folder.first, StaticEmbeddingSpec):
        raise ConfigError(f"{folder.path} is a table of embeddings, nothing for {title}", "use --backend torch")
    if dtype not in _COMPUTED[name]:
        raise ConfigError(
            f"{title} does not compute in {dtype} on CPUs", f"use --dtype {_COMPUTED[name][-1]} or --backend torch"
        )


def _torch_has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
