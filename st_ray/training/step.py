"""One step of training: gradients of the mean loss over the batch of all processes, then AdamW.

How the batch is cut into processes and micro-batches changes nothing but the rounding, and what dropout leaves out.
"""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from st_ray.training.crew import Crew
from st_ray.training.feed import Batch
from st_ray.training.losses import Loss
from st_ray.training.settings import Settings

_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.|_)norm(?:$|\.)")


class Stepper:
    """Takes steps.

    Args:
        network: on `device`, in train mode.

    Attributes:
        optimizer: of the parameters that take part.
    """

    def __init__(self, network: nn.Module, loss: Loss, settings: Settings, crew: Crew, device: torch.device) -> None:
        self._network, self._model = network, crew.wrap(network, device)
        self._loss, self._settings, self._crew, self._device = loss, settings, crew, device
        self.optimizer = adamw(network, settings.weight_decay)
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._rehearsed = crew.world == 1

    def take(self, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """Train on `batch` with the learning rate `rate`; a gradient that is not finite changes no weight.

        Returns:
            This process's part of the loss (the parts of all add up to it), and the norm of the gradient before it was
            scaled down: scalars that the device may still be computing.
        """
        if not self._rehearsed:
            # After its first pass, DDP cuts the gradients into other pieces, and the rounding of a sum over three
            # processes depends on the pieces: a run that was interrupted would end with other weights.
            self._gradients(batch)
            self.optimizer.zero_grad(set_to_none=True)
            self._rehearsed = True
        part = self._gradients(batch)
        norm = get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        self._update(norm, rate)
        return part, norm

    def _update(self, norm: Tensor, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # What fused optimisers take from gradient scalers: here it saves a pass over all gradients, and a wait.
        self.optimizer.grad_scale = ((norm + 1e-6) / (self._settings.max_grad_norm or math.inf)).clamp(min=1.0)
        self.optimizer.found_inf = (~norm.isfinite()).float()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _gradients(self, batch: Batch) -> Tensor:
        """Add this batch's gradients to the parameters', and return this process's part of the loss."""
        # Casts of weights are kept until the outermost context ends: made once for all micro-batches, never for two
        # steps. Backward passes must not run under an enabled one.
        with torch.autocast(self._device.type, enabled=False):
            return self._batchwise(batch) if self._loss.batchwise else self._pointwise(batch)

    def _pointwise(self, batch: Batch) -> Tensor:
        """The loss is the mean of the examples' values."""
        weight = (1.0 if batch.own else 0.0) / batch.examples
        parts = []
        for number in range(len(batch.micro)):
            with self._synced_by_the_last(batch, number):
                scores, labels = self._scores(self._model, batch, number)
                part = self._loss.value(scores, labels).sum() * weight
                self._backward(part)
            parts.append(part.detach())
        return torch.stack(parts).sum()

    def _batchwise(self, batch: Batch) -> Tensor:
        """The loss is one value of all scores: its slopes at this process's scores come first, then gradients."""
        known: tuple[Tensor, Tensor] | None = None
        # All processes the same way: they meet in gathering scores, and DDP's also in passes forward.
        if not batch.at_once:
            with torch.no_grad():
                ahead = [self._scores(self._network, batch, number)[0] for number in range(len(batch.micro))]
            known = self._slopes(torch.cat(ahead), batch)
        begun = 0
        for number, micro in enumerate(batch.micro):
            with self._synced_by_the_last(batch, number):
                scores, _ = self._scores(self._model, batch, number)
                value, slopes = known or self._slopes(scores.detach(), batch)
                self._backward(scores @ slopes[begun : begun + len(micro)])
            begun += len(micro)
        return value / self._crew.world

    def _slopes(self, own: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of the scores of all processes, and its derivative at each of this process's `own` ones."""
        scores = self._crew.gather(own[: batch.own], batch.examples).requires_grad_()
        value = self._loss.value(scores, batch.labels.to(self._device))
        (slopes,) = torch.autograd.grad(value, scores)
        return value.detach(), self._crew.share(slopes) if batch.own else torch.zeros_like(own)

    def _scores(self, model: nn.Module, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """Scores of a micro-batch, the same each time, and its labels."""
        micro = batch.micro[number].to(self._device)
        torch.manual_seed(_seed_of(self._settings.seed, batch.step, self._crew.rank, number))
        # Older versions of torch take a cast that was made without gradients for one with them.
        keep = torch.is_grad_enabled()
        halves = self._settings.dtype == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=halves, cache_enabled=keep):
            output = model(micro.tokens)
        return self._loss.scores(output.float().unflatten(0, (-1, len(micro)))), micro.labels

    def _backward(self, part: Tensor) -> None:
        """DDP takes the mean of the processes' gradients; wanted is the sum."""
        (part * self._crew.world).backward()

    def _synced_by_the_last(self, batch: Batch, number: int) -> AbstractContextManager[None]:
        return nullcontext() if number == len(batch.micro) - 1 else self._crew.no_sync(self._model)


def adamw(network: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the parameters that need gradients, set up as in the Trainer of transformers.

    Biases and the weights of normalisations do not decay.
    """
    norms = {id(p) for module in network.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            spared = id(parameter) in norms or _NO_DECAY.search(name.lower())
            (others if spared else decaying).append(parameter)
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, fused=True)


def _seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
