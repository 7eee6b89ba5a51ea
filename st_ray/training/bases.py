"""What training starts from: a model folder, judged by what it says of itself before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.folder import ModelFolder, check_weights, read_model_folder
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.source import resolve_model
from st_ray.models.specs import ClassifierSpec, TransformerSpec, listed_modules, read_object, read_transformer

# What configurations call the number of their layers.
_LAYER_COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
# Their heads read the last place of a row, padding in all but the longest, or need a decoder that bases do without.
_NO_PAIR_HEAD = {"xlnet", "xlm", "flaubert", "t5", "mt5", "umt5"}


@dataclass(frozen=True)
class Base:
    """A model folder to train from.

    Attributes:
        folder: its modules and prompts; the first module is a transformer.
        keep_layers: the transformer's layers that the trained model has, ascending; none means all.
        max_length: tokens an input is cut to; None for what the folder states.
        allow_pickle: load pickled weights where there are no others.
        trust_remote_code: run code that lies in the folder.
    """

    folder: ModelFolder
    keep_layers: tuple[int, ...] = ()
    max_length: int | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.folder.path

    @property
    def transformer(self) -> TransformerSpec:
        """The first module."""
        first = self.folder.first
        if not isinstance(first, TransformerSpec):
            raise ModelError(
                f"{self.path} holds static embeddings, a table that has no layers to train", "use a transformer model"
            )
        return first


@dataclass(frozen=True)
class TextBase(Base):
    """A base of a bi-encoder."""


@dataclass(frozen=True)
class PairBase(Base):
    """A base of a cross-encoder. The transformer is the only module of `folder`.

    Attributes:
        labels: logits of a pair.
    """

    labels: int = 1

    @property
    def has_head(self) -> bool:
        """Whether the folder has a classification head, which is kept; else there will be a new one."""
        return isinstance(self.transformer, ClassifierSpec)


def inspect_text_base(
    model: str | Path,
    keep_layers: Sequence[int] = (),
    max_length: int | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> TextBase:
    """What a bi-encoder starts from: a model of Sentence Transformers, or a transformer, which gets mean pooling.

    `model` is whatever `resolve_model` takes; for the others see `Base`.

    Raises:
        ModelError: the folder is missing or damaged, or holds what cannot be trained.
        ConfigError: `keep_layers` or `max_length` does not fit it.
    """
    folder = read_model_folder(resolve_model(model))
    base = TextBase(folder, tuple(keep_layers), max_length, allow_pickle, trust_remote_code)
    _refuse_dropout(folder)
    _check(base)
    return base


def inspect_pair_base(
    model: str | Path,
    labels: int | None = None,
    keep_layers: Sequence[int] = (),
    max_length: int | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> PairBase:
    """What a cross-encoder starts from: another one, or a transformer, also that of a model for embeddings.

    `labels` are logits of a pair, None for those of the folder's head, or one where it has no head; for the others see
    `inspect_text_base`.

    Raises:
        ModelError: the folder is missing or damaged, or holds what cannot be trained.
        ConfigError: `labels`, `keep_layers` or `max_length` does not fit it.
    """
    folder = _pair_folder(resolve_model(model))
    chosen = (tuple(keep_layers), max_length, allow_pickle, trust_remote_code)
    base = PairBase(folder, *chosen, labels=_labels(folder, labels))
    if not base.has_head:
        _require_head_exists(base)
    _check(base)
    return base


def _pair_folder(path: Path) -> ModelFolder:
    """The folder as one of a transformer alone, with its head if it has one."""
    if _has_head(path):
        return read_pair_folder(path).model
    if (path / "modules.json").exists():
        # Its prompts were for embeddings.
        return ModelFolder(path, (read_model_folder(path).first,), prompts={})
    return ModelFolder(path, (read_transformer(path),), prompts={})


def _has_head(path: Path) -> bool:
    listing = path / "modules.json"
    if listing.exists():
        settings = listed_modules(listing)[0][1] / "sentence_bert_config.json"
        return settings.exists() and read_object(settings).get("transformer_task") == "sequence-classification"
    names = read_object(path / "config.json").get("architectures") or ()
    return any(str(name).endswith("ForSequenceClassification") for name in names)


def _labels(folder: ModelFolder, labels: int | None) -> int:
    if labels is not None and labels < 1:
        raise ConfigError(f"labels is {labels}", "give a number above zero")
    first = folder.first
    if not isinstance(first, ClassifierSpec):
        return labels or 1
    if labels not in (None, first.labels):
        raise ConfigError(
            f"{folder.path} gives {first.labels} labels a pair, and {labels} are to be trained",
            "use a base without a classification head, which gets a new one, or data with as many labels",
        )
    return first.labels


def _require_head_exists(base: PairBase) -> None:
    kind = _config(base.transformer).get("model_type")
    if kind in _NO_PAIR_HEAD:
        raise ModelError(f"{base.path} is a {kind} model: no classification head fits it", "use another base")


def _refuse_dropout(folder: ModelFolder) -> None:
    listing = folder.path / "modules.json"
    if listing.exists() and any(kind.endswith(".Dropout") for kind, _ in listed_modules(listing)):
        raise ModelError(
            f"{listing} names a Dropout module, which training does not apply",
            "remove it from modules.json: it changes no embedding",
        )


def _check(base: Base) -> None:
    check_weights(base.folder, base.allow_pickle)
    config = _config(base.transformer)
    if base.keep_layers:
        _check_layers(base, config)
    if base.max_length is not None:
        _check_length(base, config)


def _config(spec: TransformerSpec) -> dict[str, Any]:
    return read_object(spec.path / "config.json") | dict(spec.config_kwargs)


def _check_layers(base: Base, config: Mapping[str, Any]) -> None:
    layers = next((config[name] for name in _LAYER_COUNTS if isinstance(config.get(name), int)), None)
    if layers is None:
        raise ConfigError(f"{base.transformer.path / 'config.json'} does not state a number of layers", "keep them all")
    kept = ", ".join(map(str, base.keep_layers))
    if list(base.keep_layers) != sorted(set(base.keep_layers)):
        raise ConfigError(f"keep_layers is {kept}", "name each layer once, lower ones first")
    if not 0 <= base.keep_layers[0] <= base.keep_layers[-1] < layers:
        raise ConfigError(f"keep_layers is {kept}, {base.path} has {layers} layers", f"name layers 0 to {layers - 1}")


def _check_length(base: Base, config: Mapping[str, Any]) -> None:
    length, positions = base.max_length or 0, config.get("max_position_embeddings")
    if length < 1:
        raise ConfigError(f"max_length is {length}", "give a number of tokens above zero")
    # Some configurations say -1 for no limit; where a few positions are reserved, the loaded model tells.
    if isinstance(positions, int) and 0 < positions < length:
        raise ConfigError(f"max_length is {length}, {base.path} has {positions} positions", f"give {positions} or less")
