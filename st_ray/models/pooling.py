"""Token embeddings to one vector a text. Rows are padded on the right; all arithmetic is float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """One or several poolings, concatenated in the order of `modes`.

    Without `include_prompt`, the tokens of the prompt take no part, but the others keep their positions. A row with
    no token to pool becomes zeros in every mode.
    """

    def __init__(self, modes: tuple[str, ...], include_prompt: bool = True) -> None:
        super().__init__()
        self.modes = modes
        self.include_prompt = include_prompt

    def forward(self, tokens: Tensor, lengths: Tensor, prompt_length: int = 0) -> Tensor:
        """float32 `[rows, modes * hidden]`.

        Args:
            tokens: float32 `[rows, length, hidden]`.
            lengths: int64 `[rows]`, tokens of each row; the rest is padding.
            prompt_length: tokens at the start of each row that belong to the prompt.
        """
        first = 0 if self.include_prompt else prompt_length
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        mask = (positions >= first) & (positions < lengths[:, None])
        pooled = [_POOLINGS[mode](tokens, mask) for mode in self.modes]
        return torch.cat(pooled, dim=1) if len(pooled) > 1 else pooled[0]


def _weighted(tokens: Tensor, weights: Tensor, total: Tensor) -> Tensor:
    """Sum of `[rows, length, hidden]` by weights `[rows, length]`, divided by `total` `[rows, 1]`."""
    return torch.bmm(weights[:, None, :], tokens)[:, 0] / total.clamp(min=1e-9)


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    weights = mask.float()
    return _weighted(tokens, weights, weights.sum(dim=1, keepdim=True))


def _mean_sqrt_len(tokens: Tensor, mask: Tensor) -> Tensor:
    weights = mask.float()
    return _weighted(tokens, weights, weights.sum(dim=1, keepdim=True).sqrt())


def _weighted_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    weights = mask * torch.arange(1.0, tokens.shape[1] + 1, device=tokens.device)
    return _weighted(tokens, weights, weights.sum(dim=1, keepdim=True))


def _max(tokens: Tensor, mask: Tensor) -> Tensor:
    highest = tokens.masked_fill(~mask[:, :, None], float("-inf")).amax(dim=1)
    return highest.where(mask.any(dim=1, keepdim=True), 0.0)


def _first(tokens: Tensor, mask: Tensor) -> Tensor:
    return _token_at(tokens, mask, mask.int().argmax(dim=1))


def _last(tokens: Tensor, mask: Tensor) -> Tensor:
    behind = mask.flip(1).int().argmax(dim=1)
    return _token_at(tokens, mask, tokens.shape[1] - 1 - behind)


def _token_at(tokens: Tensor, mask: Tensor, places: Tensor) -> Tensor:
    rows = torch.arange(tokens.shape[0], device=tokens.device)  # len() would be a constant to tracers
    return tokens[rows, places] * mask.any(dim=1, keepdim=True)


_POOLINGS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
