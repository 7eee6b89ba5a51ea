"""The losses that models are trained with: from what a network gives to scores, and from scores to a value.

Losses come in two halves, so that scores can be gathered from several processes before those that compare the examples
of a batch with each other are computed. Shapes are named throughout: b examples, k inputs of each (pairs of texts for a
cross-encoder, texts for a bi-encoder), m labels of each. Whatever the dtype of the network's output, sums are in
float32. The means of all values, and their gradients, are those of the classes of the same name in Sentence
Transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from st_ray.scoring.similarity import pairwise_angle_sim, pairwise_cos_sim

COSENT_SCALE = 20.0
"""What similarities are multiplied by; the inverse of a temperature."""


@dataclass(frozen=True)
class Loss:
    """One of the losses.

    Attributes:
        name: as on the command line.
        batchwise: whether it compares the examples of a batch with each other, so that they cannot be taken apart.
        scores: what the network gave, `[k, b, width]` -> scores float32 `[b]`, or `[b, x]` where an example has x.
        value: scores, and labels float32 `[b, m]` -> a value of each example, float32 `[b]`, whose mean is the loss;
            where it is batchwise, the loss itself, a scalar.
    """

    name: str
    batchwise: bool
    scores: Callable[[Tensor], Tensor]
    value: Callable[[Tensor, Tensor], Tensor]


def binary_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy `[b]` of the sigmoids of scores `[b]` with probabilities `[b, 1]`, as `BinaryCrossEntropyLoss`.

    It is the loss of the cross-encoders of Nogueira and Cho, Passage Re-ranking with BERT (arXiv:1901.04085).

    Raises:
        ValueError: the shapes are others.
    """
    return F.binary_cross_entropy_with_logits(scores.float(), _one_label(scores, labels), reduction="none")


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy `[b]` of the softmax of scores `[b, classes]` with class numbers `[b, 1]`, as `CrossEntropyLoss`.

    It is the loss that BERT classifies pairs with (Devlin et al., arXiv:1810.04805).

    Raises:
        ValueError: the shapes are others.
    """
    if scores.dim() != 2:
        raise ValueError(f"expected scores [b, classes], not {list(scores.shape)}")
    return F.cross_entropy(scores.float(), _one_label(scores[:, 0], labels).long(), reduction="none")


def squared_error(scores: Tensor, labels: Tensor) -> Tensor:
    """Squared differences `[b]` of scores `[b]` and labels `[b, 1]`, as `MSELoss` and `CosineSimilarityLoss`.

    With a teacher's scores as labels, this is the pointwise distillation of Hofstätter et al., Improving Efficient
    Neural Ranking Models with Cross-Architecture Knowledge Distillation (arXiv:2010.02666); with cosines as scores, the
    loss of Reimers and Gurevych, Sentence-BERT (arXiv:1908.10084).

    Raises:
        ValueError: the shapes are others.
    """
    return (scores.float() - _one_label(scores, labels)).square()


def margin_mse(scores: Tensor, labels: Tensor) -> Tensor:
    """How far the margins of scores `[b, k]` are from those of a teacher's scores `[b, k]`, as `MarginMSELoss`.

    A margin is the score of an example's first input (query and positive) less that of another one (query and
    negative); an example's value is the mean of the squared differences of its k - 1 margins: `[b]`. See Hofstätter et
    al. (arXiv:2010.02666).

    Raises:
        ValueError: the shapes are others, or k is below 2.
    """
    if scores.dim() != 2 or scores.shape[1] < 2 or labels.shape != scores.shape:
        raise ValueError(
            f"expected scores and labels [b, k], k at least 2, not {list(scores.shape)} and {list(labels.shape)}"
        )
    off = scores.float() - labels
    return (off[:, :1] - off[:, 1:]).square().mean(dim=1)


def pairwise_cosine(output: Tensor) -> Tensor:
    """Cosines `[b]` of the two embeddings of each example, `[2, b, d]`; 0 where one is all zeros.

    Raises:
        ValueError: the shape is another.
    """
    return pairwise_cos_sim(*_two_embeddings(output))


def pairwise_angle(output: Tensor) -> Tensor:
    """AnglE similarities `[b]` of the two embeddings of each example, `[2, b, d]`; see `pairwise_angle_sim`.

    The source is Li and Li, AnglE-optimized Text Embeddings (arXiv:2309.12871), as their code has it.

    Raises:
        ValueError: the shape is another.
    """
    return pairwise_angle_sim(*_two_embeddings(output))


def cosent(scores: Tensor, labels: Tensor, scale: float = COSENT_SCALE) -> Tensor:
    """CoSENT, as `CoSENTLoss` and `AnglELoss`: a scalar for scores `[b]` and labels `[b, 1]` of a whole batch.

    It is `log(1 + sum(exp(scale * (low - high))))` over all pairs of scores where the label of `high` is the higher
    one; equal labels make no pair. From Huang et al., CoSENT: Consistent Sentence Embedding via Similarity Ranking
    (IEEE/ACM TASLP 2024, 10.1109/TASLP.2024.3402087). Sorted by label, what the pairs of one example sum up to is known
    from the sums up to each place: time O(b log b), memory O(b).

    Raises:
        ValueError: the shapes are others.
    """
    falling, order = (-_one_label(scores, labels)).sort(stable=True)
    scores = scale * scores.float()[order]
    sums = F.pad(torch.logcumsumexp(-scores, dim=0), (1, 0), value=-math.inf)
    higher = torch.searchsorted(falling, falling)  # of each example, how many have a higher label: they stand first
    return torch.logsumexp(F.pad(scores + sums[higher], (1, 0)), dim=0)


def _only_logit(output: Tensor) -> Tensor:
    """`[1, b, 1]` -> `[b]`."""
    if output.dim() != 3 or output.shape[0] != 1:
        raise ValueError(f"expected one input for each example, [1, b, 1], not {list(output.shape)}")
    return _logits(output)[:, 0]


def _logits(output: Tensor) -> Tensor:
    """`[k, b, 1]` -> `[b, k]`."""
    if output.dim() != 3 or output.shape[2] != 1:
        raise ValueError(f"expected one number for each input, [k, b, 1], not {list(output.shape)}")
    return output[:, :, 0].t().float()


def _class_logits(output: Tensor) -> Tensor:
    """`[1, b, classes]` -> `[b, classes]`."""
    if output.dim() != 3 or output.shape[0] != 1:
        raise ValueError(f"expected one input for each example, [1, b, classes], not {list(output.shape)}")
    return output[0].float()


def _two_embeddings(output: Tensor) -> tuple[Tensor, Tensor]:
    if output.dim() != 3 or output.shape[0] != 2:
        raise ValueError(f"expected two inputs for each example, [2, b, d], not {list(output.shape)}")
    return output[0], output[1]


def _one_label(scores: Tensor, labels: Tensor) -> Tensor:
    """Labels `[b, 1]` as `[b]`, beside scores `[b]`."""
    if scores.dim() != 1 or labels.shape != (len(scores), 1):
        raise ValueError(f"expected scores [b] and labels [b, 1], not {list(scores.shape)} and {list(labels.shape)}")
    return labels[:, 0]


LOSSES: Mapping[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("bce", False, _only_logit, binary_cross_entropy),
        Loss("ce", False, _class_logits, cross_entropy),
        Loss("mse", False, _only_logit, squared_error),
        Loss("margin-mse", False, _logits, margin_mse),
        Loss("cosine", False, pairwise_cosine, squared_error),
        Loss("cosent", True, pairwise_cosine, cosent),
        Loss("angle", True, pairwise_angle, cosent),
    )
}
"""All of them by name; the labels that they take: `loss_rules`."""
