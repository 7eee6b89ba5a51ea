"""How a model is loaded and run, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[int, int, int], None]
"""Called after each batch with its rows, their tokens, and the places that the model ran, padding included."""


@dataclass(frozen=True)
class EmbedOptions:
    """How tokens become embeddings.

    Attributes:
        dimension: leading dimensions of an embedding to keep.
        normalize: scale every embedding to length 1, after truncation.
        batch_tokens: tokens of a batch at most, padding included; None for what suits the device.
        batch_rows: texts of a batch at most; None for no bound of their own.
    """

    dimension: int
    normalize: bool = False
    batch_tokens: int | None = None
    batch_rows: int | None = None


@dataclass(frozen=True)
class LoadOptions:
    """How a backend loads a model.

    Attributes:
        device: cpu, cuda, cuda:1, …; None for the GPU where there is one.
        dtype: arithmetic of the transformer; pooling and what follows are float32.
        threads: of a CPU; None for the library's own number.
        trust_remote_code: run code that lies in the model folder.
        allow_pickle: load pickled weights where there are no others.
        file_name: of an exported graph in the folder, which is run in place of the weights; None for the weights.
    """

    device: str | None = None
    dtype: str = "float32"
    threads: int | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    file_name: str | None = None
