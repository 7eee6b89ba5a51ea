"""What each module of a model folder says of itself in its JSON, read without loading a weight.

Two generations of folders are understood: the one with `pooling_mode_*` flags and `max_seq_length` beside the
transformer, and the newer one with `pooling_mode` lists and `modality_config`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from st_ray.core.errors import ModelError

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

# In the older generation the order of these flags is the order of concatenation.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_TRANSFORMER_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken", "*.bpe", "*.spm", "tekken.json")
_WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
_OLD_KEYS = {"model_args": "model_kwargs", "tokenizer_args": "processor_kwargs", "config_args": "config_kwargs"}
# How a model is run is the caller's choice, and code from a model folder runs only when the caller says so.
_NOT_FROM_FOLDER = ("trust_remote_code", "torch_dtype", "dtype", "attn_implementation", "device_map", "cache_dir")
_FEATURES = ("token_embeddings", "sentence_embedding")


@dataclass(frozen=True)
class TransformerSpec:
    """A Hugging Face transformer and its tokenizer in `path`.

    Attributes:
        max_seq_length: tokens a text is cut to, where the folder states it beside the tokenizer's own limit.
        do_lower_case: lower-case texts before the tokenizer's own normaliser.
    """

    path: Path
    max_seq_length: int | None = None
    do_lower_case: bool = False
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_kwargs: Mapping[str, Any] = field(default_factory=dict)
    config_kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassifierSpec(TransformerSpec):
    """A transformer with a classification head, whose logits are the result; it takes pairs of texts.

    Attributes:
        labels: logits of a pair.
    """

    labels: int = 1


@dataclass(frozen=True)
class StaticEmbeddingSpec:
    """One vector a token id, averaged over the text."""

    path: Path


@dataclass(frozen=True)
class PoolingSpec:
    """Token embeddings to one vector; several modes are concatenated in this order."""

    modes: tuple[str, ...]
    include_prompt: bool = True


@dataclass(frozen=True)
class DenseSpec:
    """A linear layer with an activation, and optionally a residual connection, from one feature to another."""

    path: Path
    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "torch.nn.modules.activation.Tanh"
    residual: bool = False
    reads: str = "sentence_embedding"
    writes: str = "sentence_embedding"


@dataclass(frozen=True)
class LayerNormSpec:
    """Layer normalisation of the sentence embedding."""

    path: Path
    dimension: int


@dataclass(frozen=True)
class NormalizeSpec:
    """Scaling to length 1."""

    reads: str = "sentence_embedding"
    writes: str = "sentence_embedding"


ModuleSpec = TransformerSpec | StaticEmbeddingSpec | PoolingSpec | DenseSpec | LayerNormSpec | NormalizeSpec


def read_module(kind: str, path: Path, listed_in: Path) -> ModuleSpec | None:
    """The module of type `kind` (a dotted class name) in the folder `path`; None if it changes nothing.

    Raises:
        ModelError: the type is not supported, or a file of the module is missing, broken or asks for the unknown.
    """
    package, _, name = kind.rpartition(".")
    reader = _READERS.get(name) if package.split(".")[0] == "sentence_transformers" else None
    if reader is None:
        raise ModelError(
            f"{listed_in} asks for a module of type {kind!r}, which is not supported",
            f"use a model made of {', '.join(sorted(_READERS))}",
        )
    return reader(path)


def listed_modules(listing: Path) -> list[tuple[str, Path]]:
    """Dotted class name and folder of each module that `listing`, a modules.json, names; at least one."""
    entries = read_json(listing)
    if not isinstance(entries, list) or not entries:
        raise ModelError(f"{listing} lists no modules", "fetch or save the model again")
    modules = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            raise ModelError(f"{listing} has an entry without a type: {entry!r}", "fetch or save the model again")
        relative = PurePosixPath(entry.get("path") or "")
        if relative.is_absolute() or ".." in relative.parts:
            raise ModelError(f"{listing} points outside its folder: {entry['path']!r}")
        modules.append((entry["type"], listing.parent / relative))
    return modules


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ModelError naming the file where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing", "fetch or save the model again, whole") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "fetch or save the model again") from error


def read_object(path: Path) -> dict[str, Any]:
    """As `read_json`, for a file that must hold a JSON object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}, expected a JSON object")
    return value


def read_transformer(path: Path) -> TransformerSpec:
    """The transformer saved in `path` as a module of modules.json."""
    require_transformer(path)
    file, settings = _transformer_settings(path)
    _refuse_unknown_inputs(file, settings)
    return TransformerSpec(path, **_how_to_load(file, settings))


def read_classifier(path: Path) -> ClassifierSpec:
    """The sequence classification model in `path`, with the settings beside it, if there are any."""
    config = require_transformer(path)
    file, settings = _transformer_settings(path)
    how = _how_to_load(file, settings)
    stated = how["config_kwargs"] | config
    # The transformers library's own default is two.
    labels = stated.get("num_labels") or len(stated.get("id2label") or ()) or 2
    return ClassifierSpec(path, **how, labels=int(labels))


def _how_to_load(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    for old, new in _OLD_KEYS.items():
        if old in settings:
            settings.setdefault(new, settings.pop(old))
    tokenizer_kwargs = _from_folder(settings.get("processor_kwargs"))
    stated = tokenizer_kwargs.pop("model_max_length", None) or settings.get("max_seq_length")
    return {
        "max_seq_length": _text_max_length(file, settings) or stated,
        "do_lower_case": bool(settings.get("do_lower_case", False)),
        "model_kwargs": _from_folder(settings.get("model_kwargs")),
        "tokenizer_kwargs": tokenizer_kwargs,
        "config_kwargs": _from_folder(settings.get("config_kwargs")),
    }


def require_transformer(path: Path) -> dict[str, Any]:
    """The `config.json` of the transformer in `path`, which must be a whole model with a vocabulary, no adapter."""
    if (path / "adapter_config.json").exists():
        raise ModelError(
            f"{path} holds an adapter (adapter_config.json), not a whole model",
            "merge the adapter into its base model and save that",
        )
    config = read_object(path / "config.json")
    _require_vocabulary(path)
    return config


def _require_vocabulary(path: Path) -> None:
    # Without one, the transformers library makes a tokenizer that knows its special tokens only.
    if any(any(path.glob(pattern)) for pattern in _VOCABULARIES):
        return
    file = path / "tokenizer_config.json"
    config = read_object(file) if file.exists() else {}
    if config.get("tokenizer_class") not in _WITHOUT_VOCABULARY and "auto_map" not in config:
        raise ModelError(f"{path / 'tokenizer.json'} is missing", "fetch or save the model again, with its tokenizer")


def _transformer_settings(path: Path) -> tuple[Path, dict[str, Any]]:
    for name in _TRANSFORMER_FILES:
        file = path / name
        if file.exists() and (settings := read_object(file)):
            return file, settings
    return path / _TRANSFORMER_FILES[0], {}


def _refuse_unknown_inputs(file: Path, settings: Mapping[str, Any]) -> None:
    task = settings.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise ModelError(f"{file} describes a model for {task!r}, not for embeddings", "use an embedding model")
    modalities = settings.get("modality_config") or {}
    text = modalities.get("text", {"method": "forward", "method_output_name": "last_hidden_state"})
    plain = text.get("method") == "forward" and text.get("method_output_name") in (
        "last_hidden_state",
        ["last_hidden_state"],
    )
    output = settings.get("module_output_name", "token_embeddings")
    if "message" in modalities or not plain or output != "token_embeddings":
        raise ModelError(
            f"{file} asks for inputs or outputs other than plain text and its last hidden state "
            f"(modality_config {sorted(modalities)}, module_output_name {output!r})",
            "use a model for plain text without a chat template",
        )


def _text_max_length(file: Path, settings: Mapping[str, Any]) -> int | None:
    processing = {key: value for key, value in (settings.get("processing_kwargs") or {}).items() if value}
    length = processing.get("text", {}).get("max_length")
    if processing and processing != {"text": {"max_length": length}}:
        raise ModelError(f"{file} asks for processing_kwargs {processing}; only text.max_length is supported")
    return length


def _from_folder(value: Any) -> dict[str, Any]:
    return {key: item for key, item in (value or {}).items() if key not in _NOT_FROM_FOLDER}


def _read_static(path: Path) -> StaticEmbeddingSpec:
    if not (path / "tokenizer.json").exists():
        raise ModelError(f"{path / 'tokenizer.json'} is missing", "fetch or save the model again, whole")
    return StaticEmbeddingSpec(path)


def _read_pooling(path: Path) -> PoolingSpec:
    config = read_object(path / "config.json")
    if "pooling_mode" in config:
        stated = config["pooling_mode"]
        modes = (stated,) if isinstance(stated, str) else tuple(stated)
    else:
        modes = tuple(mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)) or ("mean",)
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown or not modes:
        raise ModelError(
            f"{path / 'config.json'} asks for the pooling {list(modes)}", f"use one of {', '.join(POOLING_MODES)}"
        )
    return PoolingSpec(modes, include_prompt=bool(config.get("include_prompt", True)))


def _read_dense(path: Path) -> DenseSpec:
    file = path / "config.json"
    config = read_object(file)
    activation = config.get("activation_function", DenseSpec.activation)
    if not activation.startswith("torch.nn.modules."):
        raise ModelError(
            f"{file} names the activation {activation!r}", "use a model whose activation is a torch.nn module"
        )
    reads = _feature(file, config.get("module_input_name", "sentence_embedding"))
    return DenseSpec(
        path,
        in_features=_required(file, config, "in_features"),
        out_features=_required(file, config, "out_features"),
        bias=bool(config.get("bias", True)),
        activation=activation,
        residual=bool(config.get("use_residual", False)),
        reads=reads,
        writes=_feature(file, config.get("module_output_name") or reads),
    )


def _read_layer_norm(path: Path) -> LayerNormSpec:
    file = path / "config.json"
    return LayerNormSpec(path, dimension=_required(file, read_object(file), "dimension"))


def _read_normalize(path: Path) -> NormalizeSpec:
    # The older generation wrote no file, often not even the folder.
    file = path / "config.json"
    config = read_object(file) if file.exists() else {}
    reads = _feature(file, config.get("module_input_name", "sentence_embedding"))
    return NormalizeSpec(reads, _feature(file, config.get("module_output_name") or reads))


def _read_dropout(path: Path) -> None:
    return None


def _feature(file: Path, name: str) -> str:
    if name not in _FEATURES:
        raise ModelError(f"{file} works on the feature {name!r}, expected one of {', '.join(_FEATURES)}")
    return name


def _required(file: Path, config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int):
        raise ModelError(f"{file} states {key} {value!r}, expected a number", "fetch or save the model again")
    return value


_READERS: Mapping[str, Callable[[Path], ModuleSpec | None]] = {
    "Transformer": read_transformer,
    "StaticEmbedding": _read_static,
    "Pooling": _read_pooling,
    "Dense": _read_dense,
    "LayerNorm": _read_layer_norm,
    "Normalize": _read_normalize,
    "Dropout": _read_dropout,
}
