"""The learning rate of each step: a linear warm-up, then a linear decay to nothing."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """The rate that the step with number `step` (the first is 0) is taken with, of `steps` in all.

    It rises from 0 at the first step to `peak` at the step `warmup_steps`, and falls from there to 0 at the step
    `steps`, which is the first that is not taken: the same numbers as `transformers.get_linear_schedule_with_warmup`.
    """
    if step < warmup_steps:
        return peak * (step / warmup_steps)
    return peak * max(0.0, (steps - step) / max(1, steps - warmup_steps))


def warmup_steps(steps: int, ratio: float) -> int:
    """How many of `steps` a part of them is, rounded up, as in the Trainer of transformers."""
    return math.ceil(steps * ratio)
