"""What the steps of a training come to between two records."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from st_ray.training.crew import Crew


@dataclass(frozen=True)
class Figures:
    """Of the steps since the last record.

    Attributes:
        loss: mean over the steps.
        gradient_norm: of the last step.
        examples_per_second: of all processes.
        broken_step: number, from 1, of a step whose loss or gradient was not finite, the first one that is known; None
            where all were finite.
    """

    loss: float
    gradient_norm: float
    examples_per_second: float
    broken_step: int | None


class Tally:
    """Adds up on the device, so that no step waits for it; reading does."""

    def __init__(self, crew: Crew, device: torch.device) -> None:
        self._crew, self._device = crew, device
        self.restart()

    def restart(self) -> None:
        """Forget all, and start the clock."""
        self._loss = torch.zeros((), dtype=torch.float64, device=self._device)
        self._norm = torch.zeros((), device=self._device)
        self._broken = torch.zeros((), dtype=torch.int64, device=self._device)
        self._steps = self._examples = self._last = 0
        self._begun = time.perf_counter()

    def add(self, number: int, examples: int, part: Tensor, norm: Tensor) -> None:
        """Count the step with this number, from 1.

        Args:
            examples: of all processes.
            part: this process's part of the loss.
            norm: of the gradient; the same in all processes.
        """
        self._loss += part
        self._norm = norm
        self._broken.masked_fill_((self._broken == 0) & ~norm.isfinite(), number)
        self._steps += 1
        self._examples += examples
        self._last = number

    def read(self) -> Figures:
        """All processes must call it, and get the same but for the speed."""
        loss = float(self._crew.sum(self._loss)) / self._steps
        broken = int(self._broken) or (None if math.isfinite(loss) else self._last)
        seconds = time.perf_counter() - self._begun
        return Figures(loss, float(self._norm), self._examples / seconds, broken)
