"""Losses: their definitions and their shapes. Beside the peer: tests/parity."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from st_ray.training.loss_rules import LOSSES_OF
from st_ray.training.losses import COSENT_SCALE, LOSSES, cosent, margin_mse

OUTPUTS = {  # [k, width] and labels of an example
    "bce": (1, 1, 1),
    "ce": (1, 5, 1),
    "mse": (1, 1, 1),
    "margin-mse": (4, 1, 4),
    "cosine": (2, 7, 1),
    "cosent": (2, 7, 1),
    "angle": (2, 7, 1),
}


def output_and_labels(name: str, examples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What a network may give for a loss, and labels that the loss takes, some of them equal."""
    inputs, width, labels = OUTPUTS[name]
    rng = torch.Generator().manual_seed(seed)
    numbers = torch.randint(0, 5, (examples, labels), generator=rng).float()
    return torch.randn(inputs, examples, width, generator=rng), numbers if name == "ce" else numbers / 4


def test_names() -> None:
    assert (*LOSSES_OF["cross-encoder"], *LOSSES_OF["bi-encoder"]) == tuple(LOSSES) == tuple(OUTPUTS)
    assert all(LOSSES[name].name == name for name in LOSSES)
    assert {name for name, loss in LOSSES.items() if loss.batchwise} == {"cosent", "angle"}


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.batchwise])
@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_examples_do_not_depend_on_each_other(name: str, parts: list[int]) -> None:
    loss = LOSSES[name]
    output, labels = output_and_labels(name, sum(parts))
    values = loss.value(loss.scores(output), labels)
    assert values.shape == (sum(parts),)
    pieces = [
        loss.value(loss.scores(one), some)
        for one, some in zip(output.split(parts, dim=1), labels.split(parts), strict=True)
    ]
    torch.testing.assert_close(torch.cat(pieces), values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_short_floats_are_computed_in_float32(name: str) -> None:
    loss = LOSSES[name]
    output, labels = output_and_labels(name, 9)
    short = output.bfloat16().requires_grad_()
    value = loss.value(loss.scores(short), labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss.value(loss.scores(short.float()), labels))
    value.mean().backward()
    assert short.grad is not None
    assert short.grad.dtype == torch.bfloat16
    assert short.grad.isfinite().all()
    scores = loss.scores(output.bfloat16())
    assert scores.dtype == torch.float32
    short_scores = scores.bfloat16()
    assert torch.equal(loss.value(short_scores, labels), loss.value(short_scores.float(), labels))


def test_margins_forget_what_all_scores_of_an_example_share() -> None:
    output, labels = output_and_labels("margin-mse", 6)
    scores = LOSSES["margin-mse"].scores(output)
    moved = margin_mse(scores + torch.arange(6)[:, None], labels - 3)
    torch.testing.assert_close(moved, margin_mse(scores, labels), rtol=1e-5, atol=1e-5)
    one = margin_mse(torch.tensor([[5.0, 3.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert one.tolist() == [((2 - 1) ** 2 + (4 - 1) ** 2) / 2]


def by_all_pairs(scores: Tensor, labels: Tensor) -> Tensor:
    """CoSENT as it is defined, with a matrix of all pairs in float64."""
    differences = COSENT_SCALE * (scores.double()[:, None] - scores.double()[None, :])
    return torch.log1p(differences[labels < labels.T].exp().sum())


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.lists(st.tuples(st.floats(-1, 1, width=32), st.sampled_from([0.0, 0.25, 0.5, 1.0])), max_size=12))
def test_cosent_is_its_definition(examples: list[tuple[float, float]]) -> None:
    numbers = torch.tensor(examples).reshape(-1, 2)
    scores, labels = numbers[:, 0].clone().requires_grad_(), numbers[:, 1:]
    found = cosent(scores, labels)
    assert found.shape == ()
    (gradient,) = torch.autograd.grad(found, scores)
    expected = by_all_pairs(scores, labels)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, scores)[0], rtol=1e-4, atol=1e-3)


def test_cosent_without_pairs_is_zero() -> None:
    for labels in (torch.empty(0, 1), torch.ones(1, 1), torch.full((4, 1), 0.3)):
        scores = torch.randn(len(labels)).requires_grad_()
        loss = cosent(scores, labels)
        loss.backward()
        assert loss == 0
        assert scores.grad is not None
        assert not scores.grad.any()


def test_cosent_takes_memory_for_the_examples_not_for_their_pairs() -> None:
    sizes = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    scores, labels = torch.randn(500).requires_grad_(), torch.rand(500, 1)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        cosent(scores, labels).backward()
    assert sizes
    assert max(sizes) <= 502


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_finite_stays_so(name: str) -> None:
    loss = LOSSES[name]
    output, labels = output_and_labels(name, 5)
    output[0, 2] = math.nan
    assert loss.value(loss.scores(output), labels).mean().isnan()


@pytest.mark.parametrize(
    ("name", "output", "labels"),
    [
        ("bce", (2, 3, 1), (3, 1)),
        ("bce", (1, 3, 2), (3, 1)),
        ("bce", (3, 1), (3, 1)),
        ("bce", (1, 3, 1), (3, 2)),
        ("bce", (1, 1, 1), (3, 1)),
        ("ce", (2, 3, 5), (3, 1)),
        ("ce", (1, 3, 5), (3, 5)),
        ("mse", (1, 3, 1), (1, 1)),
        ("mse", (1, 3, 1), (3,)),
        ("margin-mse", (1, 3, 1), (3, 1)),
        ("margin-mse", (3, 3, 1), (3, 2)),
        ("margin-mse", (3, 3, 2), (3, 3)),
        ("cosine", (1, 3, 7), (3, 1)),
        ("cosent", (3, 3, 7), (3, 1)),
        ("cosent", (2, 3, 7), (1, 1)),
        ("angle", (6, 7), (3, 1)),
    ],
)
def test_other_shapes_are_refused(name: str, output: tuple[int, ...], labels: tuple[int, ...]) -> None:
    loss = LOSSES[name]
    with pytest.raises(ValueError, match=r"expected .* not \["):
        loss.value(loss.scores(torch.zeros(output)), torch.zeros(labels))
