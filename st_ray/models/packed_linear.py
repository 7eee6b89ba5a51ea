"""Linear layers whose weights lie ready for the CPU's matrix kernels.

torch lays a weight out anew at every call, or takes a library that leaves a part of the CPU unused; oneDNN's packed
weights, which torch carries for its compiler, avoid both. The result is the same up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PackedLinear(nn.Module):
    """`x @ weight.T + bias` in `dtype`, on the CPU, for inference."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        # Kept for models that look at it themselves; mapped from its file, it takes no memory of its own.
        self.weight = linear.weight
        self.dtype = dtype
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype), None)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in_features]` of any dtype to `[..., out_features]` of `dtype`."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.packed, self.bias, "none", [], "")
        return out


@torch.no_grad()
def pack_linears(model: nn.Module, dtype: torch.dtype) -> int:
    """Replace every linear layer of `model` by a packed one; returns how many. 0 where this CPU has no such kernel."""
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear
    ]
    if not places or not _works(places[0][2], dtype):
        return 0
    packed: dict[int, PackedLinear] = {}
    for parent, name, child in places:
        if id(child) not in packed:
            packed[id(child)] = PackedLinear(child, dtype)
        setattr(parent, name, packed[id(child)])
    return len(packed)


def _works(linear: nn.Linear, dtype: torch.dtype) -> bool:
    """Whether packing is available here, and gives what the layer gives."""
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.linspace(-1.0, 1.0, 3 * linear.in_features).reshape(3, -1)
    try:
        found = PackedLinear(linear, dtype)(x).float()
    except (AttributeError, RuntimeError):
        return False
    expected = functional.linear(x, linear.weight.float(), None if linear.bias is None else linear.bias.float())
    if not expected.isfinite().all():
        return False  # damaged weights say nothing of the kernel; the model's own checks name them
    tolerance = 1e-4 if dtype == torch.float32 else 5e-2
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
