"""Losses and their gradients are the peer's, for fixed outputs of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses as cross_encoder_losses
from sentence_transformers.sentence_transformer import losses as bi_encoder_losses
from torch import Tensor, nn

from st_ray.training.losses import LOSSES

TOLERANCE = 1e-6


class FixedCrossEncoder(CrossEncoder):
    """Takes pairs whose second text is a number: that of the row of fixed scores that it gives."""

    num_labels = property(lambda self: self.scores.shape[-1])
    device = property(lambda self: self.scores.device)

    def __init__(self, scores: Tensor) -> None:
        nn.Module.__init__(self)
        self.scores = scores

    def preprocess(self, pairs: list[tuple[str, str]], **options: Any) -> dict[str, Tensor]:
        return {"rows": torch.tensor([int(second) for _, second in pairs])}

    def forward(self, features: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
        return {"scores": self.scores[features["rows"]]}


class FixedEncoder(nn.Module):
    """Takes numbers of rows, and gives these rows of fixed embeddings."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.embeddings[features["rows"]]}


def of_cross_encoder(name: str, whole: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    def value(output: Tensor, labels: Tensor) -> Tensor:
        inputs, examples, width = output.shape
        texts = [["query"] * examples]
        texts += [[str(j * examples + i) for i in range(examples)] for j in range(inputs)]
        loss = getattr(cross_encoder_losses, name)(FixedCrossEncoder(output.reshape(-1, width)))
        labels = labels[:, 0] if labels.shape[1] == 1 else labels
        return loss(texts, labels.long() if whole else labels)

    return value


def of_bi_encoder(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    def value(output: Tensor, labels: Tensor) -> Tensor:
        inputs, examples, width = output.shape
        features = [{"rows": torch.arange(j * examples, (j + 1) * examples)} for j in range(inputs)]
        return getattr(bi_encoder_losses, name)(FixedEncoder(output.reshape(-1, width)))(features, labels[:, 0])

    return value


PEERS = {
    "bce": of_cross_encoder("BinaryCrossEntropyLoss"),
    "ce": of_cross_encoder("CrossEntropyLoss", whole=True),
    "mse": of_cross_encoder("MSELoss"),
    "margin-mse": of_cross_encoder("MarginMSELoss"),
    "cosine": of_bi_encoder("CosineSimilarityLoss"),
    "cosent": of_bi_encoder("CoSENTLoss"),
    "angle": of_bi_encoder("AnglELoss"),
}
SHAPES = {  # of the network's output: inputs and widths
    "bce": [(1, 1)],
    "ce": [(1, 2), (1, 3), (1, 17)],
    "mse": [(1, 1)],
    "margin-mse": [(2, 1), (3, 1), (9, 1)],
    "cosine": [(2, 1), (2, 8), (2, 33)],
    "cosent": [(2, 1), (2, 8), (2, 33)],
    "angle": [(2, 2), (2, 8), (2, 33)],
}
CASES = [(name, *shape) for name in LOSSES for shape in SHAPES[name]]
LABELS: dict[str, Callable[[Tensor], Tensor]] = {
    "different": lambda x: x,
    "many equal": lambda x: (x * 3).round() / 3,
    "two": torch.round,
    "all equal": torch.zeros_like,
}


def rows(name: str, inputs: int, examples: int, width: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Outputs of a network, and numbers from 0 to 1 to make labels from."""
    rng = torch.Generator().manual_seed(examples * 100 + width)
    labels = torch.rand(examples, inputs if name == "margin-mse" else 1, generator=rng)
    return scale * torch.randn(inputs, examples, width, generator=rng), labels


def assert_same(name: str, output: Tensor, labels: Tensor, tolerance: float = TOLERANCE) -> None:
    """Values and gradients."""
    ours, theirs = output.clone().requires_grad_(), output.clone().requires_grad_()
    loss = LOSSES[name]
    found = loss.value(loss.scores(ours), labels).mean()
    expected = PEERS[name](theirs, labels)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=tolerance, atol=tolerance)


def test_every_loss_is_compared() -> None:
    assert tuple(PEERS) == tuple(SHAPES) == tuple(LOSSES)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("examples", [1, 2, 7, 64])
@pytest.mark.parametrize(("name", "inputs", "width"), CASES)
def test_values_and_gradients(name: str, inputs: int, width: int, examples: int, labels: str) -> None:
    output, numbers = rows(name, inputs, examples, width)
    made = LABELS[labels](numbers)
    assert_same(name, output, (made * (width - 1)).round() if name == "ce" else made)


@pytest.mark.parametrize(("name", "inputs", "width"), CASES)
def test_large_outputs(name: str, inputs: int, width: int) -> None:
    output, numbers = rows(name, inputs, 32, width, scale=100.0)
    assert_same(name, output, (numbers * (width - 1)).round() if name == "ce" else numbers)


@pytest.mark.parametrize("name", ["mse", "margin-mse", "cosent", "angle"])
def test_labels_of_any_size(name: str) -> None:
    """A teacher's logits, or similarities on another scale."""
    inputs, width = SHAPES[name][-1]
    output, numbers = rows(name, inputs, 16, width)
    assert_same(name, output, 30 * numbers - 15)


@pytest.mark.parametrize("name", ["cosine", "cosent", "angle"])
def test_an_embedding_of_zeros(name: str) -> None:
    output, labels = rows(name, 2, 6, 8)
    output[0, 3] = 0
    loss = LOSSES[name]
    found = loss.value(loss.scores(output), labels).mean()
    torch.testing.assert_close(found, PEERS[name](output, labels), rtol=TOLERANCE, atol=TOLERANCE)
