"""What a training starts from, as the driver has checked it and as each process loads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from st_ray.core.errors import ConfigError
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.model_facts import same_model
from st_ray.runtime.training.config import TrainBiEncoderConfig, TrainConfig, TrainCrossEncoderConfig

if TYPE_CHECKING:
    from st_ray.training.bases import PairBase, TextBase
    from st_ray.training.network import Network


@dataclass(frozen=True)
class BaseModel(ABC):
    """A model folder to train from.

    Attributes:
        model: as the user names it.
        digest: of its content.
        layers: that are kept; none means all.
    """

    model: str
    digest: str
    layers: tuple[int, ...]
    max_seq_length: int | None
    trust_remote_code: bool
    allow_pickle: bool

    @abstractmethod
    def inspect(self) -> PairBase | TextBase:
        """The folder on this machine, fetched if need be; no weight is read.

        Raises:
            ModelError: it is missing, damaged, another one than the driver's, or cannot be trained.
            ConfigError: a flag does not fit it.
        """

    @abstractmethod
    def network(self, seed: int) -> Network:
        """What is trained, on the CPU. Raises what `inspect` raises."""

    @abstractmethod
    def write(self, network: Network, folder: Path, loss: str) -> None:
        """A model folder of the trained network, which is on the CPU."""

    @property
    def _how(self) -> tuple[tuple[int, ...], int | None, bool, bool]:
        return self.layers, self.max_seq_length, self.allow_pickle, self.trust_remote_code


class BiEncoderBase(BaseModel):
    """Of a bi-encoder."""

    def inspect(self) -> TextBase:
        """See `BaseModel.inspect`."""
        from st_ray.training.bases import inspect_text_base

        return inspect_text_base(same_model(self.model, self.digest), *self._how)

    def network(self, seed: int) -> Network:
        """See `BaseModel.network`."""
        from st_ray.training.network import load_text_network

        return load_text_network(self.inspect())

    def write(self, network: Network, folder: Path, loss: str) -> None:
        """See `BaseModel.write`."""
        from st_ray.training.folder import write_text_folder

        write_text_folder(network, self.inspect(), folder)


@dataclass(frozen=True)
class CrossEncoderBase(BaseModel):
    """Of a cross-encoder.

    Attributes:
        labels: logits of a pair; None for those of the folder's head, or one where it has none.
    """

    labels: int | None = None

    def inspect(self) -> PairBase:
        """See `BaseModel.inspect`."""
        from st_ray.training.bases import inspect_pair_base

        return inspect_pair_base(same_model(self.model, self.digest), self.labels, *self._how)

    def network(self, seed: int) -> Network:
        """See `BaseModel.network`."""
        from st_ray.training.network import load_pair_network

        return load_pair_network(self.inspect(), seed)

    def write(self, network: Network, folder: Path, loss: str) -> None:
        """See `BaseModel.write`; scores are sigmoids where the loss is theirs, else logits."""
        from st_ray.training.folder import write_pair_folder

        write_pair_folder(network, self.inspect(), folder, "sigmoid" if loss == "bce" else "identity")

    def with_classes(self, classes: int) -> CrossEncoderBase:
        """With a new head of as many logits as the data has classes, unless it has a head or a number already."""
        if self.labels is not None or self.inspect().has_head:
            return self
        return replace(self, labels=max(classes, 2))

    def check_loss(self, loss: str) -> None:
        """Raise ConfigError where the head that the folder has, or will get, is not one for the loss."""
        base = self.inspect()
        if loss == "ce" and base.has_head and base.labels < 2:
            raise ConfigError(
                f"--loss ce tells classes apart, and the head of {self.model} has one logit",
                "use --loss bce, or a base without a head, which gets a new one",
            )
        if loss != "ce" and base.labels != 1:
            raise ConfigError(
                f"--loss {loss} trains one logit, and the head of {self.model} has {base.labels}",
                "use --loss ce, or a base without a head, which gets a new one",
            )


def base_model(config: TrainConfig) -> BaseModel:
    """The base that the flags name, checked without reading a weight.

    Raises:
        ModelError: it is missing, damaged or cannot be trained.
        ConfigError: a flag does not fit it.
    """
    digest = model_digest(resolve_model(config.base_model))
    how = (config.base_model, digest, config.layers, config.max_seq_length)
    trust = (config.trust_remote_code, config.allow_pickle)
    if isinstance(config, TrainBiEncoderConfig):
        made: BaseModel = BiEncoderBase(*how, *trust)
        made.inspect()
        return made
    assert isinstance(config, TrainCrossEncoderConfig)  # noqa: S101  there are two kinds
    labels = config.num_labels if config.loss == "ce" else None
    base = CrossEncoderBase(*how, *trust, labels=labels)
    base.check_loss(config.loss)
    return base
