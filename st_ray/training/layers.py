"""A smaller model out of some of a transformer's own layers, as distillation starts its students."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from st_ray.core.errors import ConfigError

# What configurations say of each layer, where layers differ.
_PER_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")


def keep_layers(model: Any, kept: Sequence[int]) -> None:
    """Leave only the layers `kept`, ascending, in a model of the transformers library; its configuration follows.

    Raises:
        ConfigError: the model has no row of layers, or its layers differ and cannot stand in each other's places.
    """
    layers = _row_of_layers(model)
    for name in _PER_LAYER:
        stated = getattr(model.config, name, None)
        if isinstance(stated, (list, tuple)) and len(stated) == len(layers):
            setattr(model.config, name, [stated[place] for place in kept])
    for place in reversed(range(len(layers))):
        if place not in kept:
            del layers[place]
    model.config.num_hidden_layers = len(kept)
    _require_loadable(model, kept)


def _row_of_layers(model: Any) -> nn.ModuleList:
    count = getattr(model.config, "num_hidden_layers", None)
    for module in model.modules():  # outer ones first
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ConfigError(f"a {model.config.model_type} model has no row of {count} layers of its own", "keep all layers")


def _require_loadable(model: Any, kept: Sequence[int]) -> None:
    """Raise where what the configuration now describes has other weights than the model."""
    with torch.device("meta"):
        described = type(model)(copy.deepcopy(model.config)).state_dict()
    differing = described.keys() ^ model.state_dict().keys()
    # Whether there is one is the caller's choice, and not in the configuration.
    named = sorted(name for name in differing if "pooler." not in name)
    if named:
        raise ConfigError(
            f"layers {', '.join(map(str, kept))} of a {model.config.model_type} model cannot stand alone: its layers "
            f"differ in {', '.join(named[:3])}",
            "keep layer 0 among them, or keep all",
        )
