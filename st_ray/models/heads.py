"""The modules behind the first one that carry weights or change lengths: Dense, LayerNorm, Normalize. All float32."""

from __future__ import annotations

import importlib

from torch import Tensor, nn
from torch.nn import functional

from st_ray.core.errors import ModelError
from st_ray.models.specs import DenseSpec, LayerNormSpec
from st_ray.models.weights import read_state


class Dense(nn.Module):
    """`activation(linear(x))`, plus the input (projected where the sizes differ) with `residual`."""

    def __init__(self, spec: DenseSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.in_features, spec.out_features, bias=spec.bias)
        self.activation = _activation(spec)
        self.add_input = spec.residual
        if spec.residual and spec.in_features != spec.out_features:
            self.residual = nn.Linear(spec.in_features, spec.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        out: Tensor = self.activation(self.linear(x))
        if self.add_input:
            out = out + (self.residual(x) if hasattr(self, "residual") else x)
        return out


class LayerNorm(nn.Module):
    """Layer normalisation with learned scale and shift, `[..., dimension]`."""

    def __init__(self, spec: LayerNormSpec) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(spec.dimension)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        out: Tensor = self.norm(x)
        return out


class Normalize(nn.Module):
    """Every vector scaled to length 1; a zero vector stays zero."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return functional.normalize(x, p=2, dim=-1)


def load_head(spec: DenseSpec | LayerNormSpec, allow_pickle: bool = False) -> nn.Module:
    """The module of `spec` with its weights, on the CPU, float32.

    Raises:
        ModelError: the weights are damaged, missing, of another shape, or more than the module has.
    """
    head: nn.Module = Dense(spec) if isinstance(spec, DenseSpec) else LayerNorm(spec)
    state = {name: tensor.float() for name, tensor in read_state(spec.path, allow_pickle).items()}
    try:
        head.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"the weights in {spec.path} do not fit its config.json: {error}", "fetch or save the model again"
        ) from error
    return head


def _activation(spec: DenseSpec) -> nn.Module:
    module, _, name = spec.activation.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
        made = kind()
    except (ImportError, AttributeError, TypeError) as error:
        raise ModelError(f"{spec.path} names the activation {spec.activation!r}, which cannot be made") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{spec.path} names the activation {spec.activation!r}, which is no torch.nn module")
    return made
