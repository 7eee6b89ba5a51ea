"""What this machine can do at best: its matrix-multiplication peak, and what a token of a model costs."""

from __future__ import annotations

import time
from typing import Any

import torch


def gemm_peak(dtype: torch.dtype, size: int = 2048, rounds: int = 8) -> float:
    """FLOP/s of the best of `rounds` square products, by the faster of torch's two CPU libraries."""
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    packed = torch.ops.mkldnn._reorder_linear_weight(right, None) if torch.backends.mkldnn.is_available() else None
    best = 0.0
    for _ in range(rounds):
        for product in (
            lambda: left @ right,
            lambda: (
                torch.ops.mkldnn._linear_pointwise(left, packed, None, "none", [], "") if packed is not None else None
            ),
        ):
            begun = time.perf_counter()
            product()
            best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def flops_per_token(config: Any, tokens: float) -> float:
    """Multiply-adds, counted as two, of a BERT-like encoder for one token of a text of `tokens` tokens."""
    d, inner = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * (2 * (4 * d * d + 2 * d * inner) + 4 * tokens * d)
