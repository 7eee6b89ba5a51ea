"""Scores of examples by a network that is being trained, as its losses see them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from st_ray.models.batching import token_budget_batches
from st_ray.training.feed import SupportsTake, micro_batch
from st_ray.training.losses import Loss

_ROWS_AT_ONCE = 8192


@torch.inference_mode()
def scores_of(
    network: nn.Module,
    examples: SupportsTake,
    rows: np.ndarray,
    loss: Loss,
    device: torch.device,
    dtype: str,
    budget: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 `[n]` or `[n, x]` (see `Loss.scores`), and labels float32 `[n, m]`, of the examples `rows`.

    Args:
        network: on `device`, in evaluation mode; has the attribute `padding_id`.
        rows: numbers of examples, int `[n]`, at least one.
        dtype: float32 or bfloat16, as while it is trained.
        budget: tokens of a batch, padding included.
    """
    found, golds = [], []
    for begun in range(0, len(rows), _ROWS_AT_ONCE):
        block = examples.take(rows[begun : begun + _ROWS_AT_ONCE])
        batches = token_budget_batches(block.lengths, max(1, budget // block.inputs))
        scores = []
        for batch in batches:
            micro = micro_batch(block, batch, network.padding_id).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                output = network(micro.tokens)
            scores.append(loss.scores(output.float().unflatten(0, (-1, len(micro)))))
        joined = torch.cat(scores).cpu().numpy()
        ordered = np.empty_like(joined)
        ordered[np.concatenate(batches)] = joined
        found.append(ordered)
        golds.append(block.labels)
    return np.concatenate(found), np.concatenate(golds)
