"""From logits to scores: activations by the dotted names that model folders have, or functions of the caller's own."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from st_ray.core.errors import ModelError
from st_ray.models.pair_folder import IDENTITY, SIGMOID

Activation = Callable[[np.ndarray], np.ndarray]

NAMED = {"sigmoid": SIGMOID, "identity": IDENTITY}
"""Dotted names by short ones."""


def activation_of(name: str, labels: int, trust_remote_code: bool = False) -> Activation:
    """The activation of that name, on logits float32 `[n, labels]`.

    A class that torch does not have is imported only where `trust_remote_code` says so; else the default is taken (a
    sigmoid for one label), as Sentence Transformers does, with a warning.

    Raises:
        ModelError: there is no such class.
    """
    known: dict[str, Activation] = {SIGMOID: sigmoid, IDENTITY: _identity}
    if name in known:
        return known[name]
    if not trust_remote_code and not name.startswith("torch."):
        default = SIGMOID if labels == 1 else IDENTITY
        warnings.warn(f"the activation {name} is not torch's and was not trusted; {default} stands in", stacklevel=2)
        return known[default]
    module, _, kind = name.rpartition(".")
    try:
        return on_tensors(getattr(importlib.import_module(module), kind)())
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"the activation {name!r} cannot be made: {error}", "name a torch.nn module") from error


def on_tensors(function: Callable[[Any], Any]) -> Activation:
    """A function of torch tensors as one of arrays."""

    def apply(logits: np.ndarray) -> np.ndarray:
        import torch

        return np.asarray(function(torch.from_numpy(logits)).float())

    return apply


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), float32, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Along the last axis, float32."""
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (raised / raised.sum(axis=-1, keepdims=True)).astype(np.float32)


def _identity(logits: np.ndarray) -> np.ndarray:
    return logits
