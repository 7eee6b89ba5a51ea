"""A base's modules in a row, all trainable: float32 weights, dropout alive, nothing rewritten for inference."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.heads import Normalize, load_head
from st_ray.models.network import TokenBatch
from st_ray.models.pooling import Pooling
from st_ray.models.specs import ClassifierSpec, DenseSpec, LayerNormSpec, ModuleSpec, NormalizeSpec, PoolingSpec
from st_ray.models.transformer import Classifier, Transformer, load_classifier, load_transformer
from st_ray.training.bases import Base, PairBase, TextBase
from st_ray.training.layers import keep_layers

# Rows and tokens of the batch that a network is tried out with.
_PROBE = (2, 8)
_AGAIN = "fetch or save the model again, or use another base"


class Network(nn.Module):
    """What is trained. Under autocast the transformer alone computes in less than float32.

    Attributes:
        first: takes the tokens.
        rest: the modules behind it, in the folder's order.
        padding_id: what to fill padded places with.
        positions: tokens that a row may have at most; None where nothing bounds them.
        vocabulary: number of token ids that are known; None where nothing bounds them.
    """

    def __init__(
        self, first: Transformer | Classifier, specs: Sequence[ModuleSpec] = (), allow_pickle: bool = False
    ) -> None:
        super().__init__()
        self.first = first
        self.rest = nn.ModuleList(_module(spec, allow_pickle) for spec in specs)
        self._specs = tuple(specs)
        self.padding_id: int = first.padding_id
        self.positions: int | None = first.positions
        self.vocabulary: int | None = first.vocabulary

    def forward(self, batch: TokenBatch) -> Tensor:
        """Logits float32 `[rows, labels]` of pairs, or embeddings float32 `[rows, dimension]` of texts."""
        found = self.first(batch.ids, batch.mask, batch.type_ids)
        if isinstance(self.first, Classifier):
            return found
        with torch.autocast(found.device.type, enabled=False):
            return self._finish(found, batch)

    def _finish(self, tokens: Tensor, batch: TokenBatch) -> Tensor:
        features = {"token_embeddings": tokens}
        for module, spec in zip(self.rest, self._specs, strict=True):
            if isinstance(spec, PoolingSpec):
                features["sentence_embedding"] = module(
                    features["token_embeddings"], batch.lengths, batch.prompt_length
                )
            elif isinstance(spec, (DenseSpec, NormalizeSpec)):
                features[spec.writes] = module(features[spec.reads])
            else:
                features["sentence_embedding"] = module(features["sentence_embedding"])
        return features["sentence_embedding"]


def load_text_network(base: TextBase) -> Network:
    """The bi-encoder of `base`, on the CPU, in train mode.

    Raises:
        ModelError: the weights are damaged or incomplete, or the modules do not fit each other.
        ConfigError: `base.keep_layers` or `base.max_length` does not fit the model.
    """
    # Where a folder lacks a pooler, which no embedding passes through, the library makes one of random numbers.
    with _seeded(0):
        first = load_transformer(base.transformer, torch.float32, base.trust_remote_code, base.allow_pickle)
    if base.keep_layers:
        keep_layers(first.model, base.keep_layers)
    return _tried_out(Network(first, base.folder.modules[1:], base.allow_pickle), base)


def load_pair_network(base: PairBase, seed: int) -> Network:
    """The cross-encoder of `base`, on the CPU, in train mode; a new head has random weights that `seed` decides.

    Raises:
        ModelError: the weights are damaged or incomplete, or no head fits the model.
        ConfigError: `base.keep_layers` or `base.max_length` does not fit it.
    """
    spec, how = base.transformer, (torch.float32, base.trust_remote_code, base.allow_pickle)
    with _seeded(seed):
        if isinstance(spec, ClassifierSpec):
            first = load_classifier(spec, *how)
            if base.keep_layers:
                keep_layers(first.model, base.keep_layers)
        else:
            encoder = load_transformer(spec, *how).model
            if base.keep_layers:
                keep_layers(encoder, base.keep_layers)
            first = Classifier(_with_new_head(encoder, base))
    return _tried_out(Network(first), base)


def freeze_unreached(network: Network) -> list[str]:
    """Freeze the parameters that the output does not depend on, such as a pooler's; returns their names.

    No loss can reach them, and processes that train together would wait for their gradients.

    Raises:
        RuntimeError: the modules cannot be run, or other errors of theirs.
        ValueError: the output is not finite.
    """
    ids = torch.arange(_PROBE[0] * _PROBE[1]).reshape(_PROBE) % (network.vocabulary or 2)
    was_training = network.training
    network.eval()
    found = network(TokenBatch(ids, lengths=torch.full(_PROBE[:1], _PROBE[1])))
    network.train(was_training)
    if not found.isfinite().all():
        raise ValueError("the output is not finite")
    trained = [(name, tensor) for name, tensor in network.named_parameters() if tensor.requires_grad]
    gradients = torch.autograd.grad(found.sum(), [tensor for _, tensor in trained], allow_unused=True)
    unreached = [pair for pair, gradient in zip(trained, gradients, strict=True) if gradient is None]
    for _, tensor in unreached:
        tensor.requires_grad_(False)
    return [name for name, _ in unreached]


def _module(spec: ModuleSpec, allow_pickle: bool) -> nn.Module:
    if isinstance(spec, PoolingSpec):
        return Pooling(spec.modes, spec.include_prompt)
    if isinstance(spec, NormalizeSpec):
        return Normalize()
    if isinstance(spec, (DenseSpec, LayerNormSpec)):
        return load_head(spec, allow_pickle)
    raise ModelError(f"{type(spec).__name__} cannot stand behind the first module")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of the CPU as `seed` decides them; those outside go on as if none had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _with_new_head(encoder: Any, base: PairBase) -> Any:
    """The sequence classification model around `encoder`, float32."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(encoder.config)
    config.num_labels = base.labels
    try:
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=base.trust_remote_code).float()
        # A pooler that is missing is a part of the new head; one too many is not a part of this kind of head.
        missing = [
            name
            for name in model.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
            if "pooler." not in name
        ]
    except (ValueError, RuntimeError, AttributeError, TypeError) as error:  # the library has no such model, or another
        raise _no_head(base, str(error)) from error
    if missing:
        raise _no_head(base, f"it needs {', '.join(missing[:3])} too")
    return model


def _no_head(base: PairBase, why: str) -> ModelError:
    return ModelError(f"no classification head can be put on the transformer in {base.path}: {why}", "use another base")


def _tried_out(network: Network, base: Base) -> Network:
    limit = network.positions
    if base.max_length is not None and limit is not None and base.max_length > limit:
        raise ConfigError(
            f"max_length is {base.max_length}, the model {base.path} has {limit} positions", f"give {limit} or less"
        )
    try:
        freeze_unreached(network)
    except (RuntimeError, AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
        raise ModelError(
            f"a few tokens cannot be run through the modules of {base.path}: {type(error).__name__}: {error}", _AGAIN
        ) from error
    return network.train()
