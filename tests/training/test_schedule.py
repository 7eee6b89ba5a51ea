"""The learning rate is the one of transformers' scheduler, at every step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TrainingArguments, get_linear_schedule_with_warmup

from st_ray.training.schedule import learning_rate, warmup_steps


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 40), st.integers(0, 45), st.sampled_from([2e-5, 1e-3, 0.1]))
def test_as_transformers(steps: int, warmup: int, peak: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    for step in range(steps + 2):
        assert learning_rate(step, steps, warmup, peak) == scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()


def test_shape() -> None:
    rates = [learning_rate(step, 10, 4, 1.0) for step in range(11)]
    assert rates == [0, 0.25, 0.5, 0.75, 1, *(rest / 6 for rest in (5, 4, 3, 2, 1, 0))]


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.1, 0.25, 0.33])
@pytest.mark.parametrize("steps", [1, 7, 30, 1001])
def test_warmup_as_transformers(ratio: float, steps: int) -> None:
    expected = TrainingArguments.get_warmup_steps(SimpleNamespace(warmup_steps=ratio), steps)
    assert warmup_steps(steps, ratio) == expected
