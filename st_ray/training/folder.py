"""A trained network as a whole model folder, which st-ray and all versions of Sentence Transformers since 3 load.

What is written says what was trained: float32 weights in safetensors, and the tokenizer's files as the base has them.
Settings are in the layout of the older generation, which the newer one reads too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from torch import nn

from st_ray.core.errors import ConfigError
from st_ray.models.activation import NAMED
from st_ray.models.source import is_model_file
from st_ray.models.specs import PoolingSpec, listed_modules, read_object
from st_ray.models.weights import SAFETENSORS
from st_ray.training.bases import Base, PairBase, TextBase
from st_ray.training.network import Network

_MODULES = "modules.json"
_SETTINGS = "config_sentence_transformers.json"
_TRANSFORMER_SETTINGS = "sentence_bert_config.json"
_TRANSFORMER, _POOLING = "sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"
# Only versions that have this class look for the listing of a cross-encoder.
_PAIR_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
# Written anew, or about what the base was trained on.
_NOT_COPIED = {"config.json", _MODULES, _SETTINGS, "data_config.json"}


def write_text_folder(network: Network, base: TextBase, target: Path) -> None:
    """Write the bi-encoder `network`, trained from `base`, into the folder `target`.

    Modules lie where they lie in the base; prompts, similarity function and truncation are the base's.
    """
    if not (base.path / _MODULES).exists():
        _write_transformer(network, base, target)
        _write_plain_settings(network, base, target)
        return
    sources = [path for _, path in listed_modules(base.path / _MODULES)]
    _write_transformer(network, base, target / sources[0].relative_to(base.path))
    for module, source in zip(network.rest, sources[1:], strict=True):
        _write_module(module, source, target / source.relative_to(base.path))
    for name in (_MODULES, _SETTINGS):
        _copy_if_there(base.path / name, target)


def write_pair_folder(network: Network, base: PairBase, target: Path, activation: str) -> None:
    """Write the cross-encoder `network`, trained from `base`, into the folder `target`.

    Args:
        network: from `load_pair_network`.
        base: its base, whose prompts are kept.
        target: a folder, made if need be.
        activation: from logits to scores: sigmoid or identity.

    Raises:
        ConfigError: there is no such activation.
    """
    if activation not in NAMED:
        raise ConfigError(f"there is no activation {activation!r}", f"use one of {', '.join(NAMED)}")
    named = NAMED[activation]
    _write_transformer(network, base, target, {"transformer_task": "sequence-classification"})
    # Where version 4, version 3 and the newest look for it, in this order.
    config = {"sentence_transformers": {"activation_fn": named}, "sbert_ce_default_activation_function": named}
    _write_json(target / "config.json", read_object(target / "config.json") | config)
    prompts = {"prompts": dict(base.folder.prompts), "default_prompt_name": base.folder.default_prompt_name}
    _write_json(target / _SETTINGS, {"model_type": "CrossEncoder", "activation_fn": named, **prompts})
    _write_json(target / _MODULES, _listing({"": _PAIR_TRANSFORMER}))


def _write_transformer(network: Network, base: Base, place: Path, task: Mapping[str, str] | None = None) -> None:
    place.mkdir(parents=True, exist_ok=True)
    spec = base.transformer
    for file in sorted(spec.path.iterdir()):
        if _is_kept(file.name, base.trust_remote_code):
            shutil.copyfile(file, place / file.name)
    with _no_progress_bars():
        network.first.model.save_pretrained(place)
    config = read_object(place / "config.json")
    # Where the base lay, which older versions of the library note down.
    config.pop("_name_or_path", None)
    _write_json(place / "config.json", config)
    length = base.max_length or spec.max_seq_length
    settings: dict[str, Any] = {"max_seq_length": length, "do_lower_case": spec.do_lower_case, **(task or {})}
    # By the names that all versions know; what there was for the configuration is in config.json now.
    arguments = {"model_args": spec.model_kwargs, "tokenizer_args": spec.tokenizer_kwargs}
    settings |= {name: dict(given) for name, given in arguments.items() if given}
    _write_json(place / _TRANSFORMER_SETTINGS, settings)
    # The only place where older cross-encoders look for a length.
    tokenizer = place / "tokenizer_config.json"
    if length is not None and tokenizer.exists():
        _write_json(tokenizer, read_object(tokenizer) | {"model_max_length": length})


def _is_kept(name: str, with_code: bool) -> bool:
    """Whether a file beside the base's weights, most often the tokenizer's, is copied."""
    path = PurePosixPath(name)
    weights = path.suffix in (".safetensors", ".bin") or name.endswith(".index.json")
    settings = name in _NOT_COPIED or path.match("sentence_*_config.json")
    code = path.suffix == ".py" and not with_code
    return is_model_file(path) and not (weights or settings or code)


def _write_module(module: nn.Module, source: Path, place: Path) -> None:
    """A module behind the transformer: its configuration as in `source`, and its weights, where it has any."""
    from safetensors.torch import save_file

    _copy_if_there(source / "config.json", place)
    weights = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    if weights:
        save_file(weights, place / SAFETENSORS, {"format": "pt"})


def _write_plain_settings(network: Network, base: TextBase, target: Path) -> None:
    """What a plain transformers folder lacks: the listing of its modules, its pooling and its settings."""
    modes = next(spec.modes for spec in base.folder.modules if isinstance(spec, PoolingSpec))
    pooling = {
        "word_embedding_dimension": network.first.model.config.hidden_size,
        "pooling_mode_mean_tokens": "mean" in modes,
        "pooling_mode_lasttoken": "lasttoken" in modes,
    }
    (target / "1_Pooling").mkdir(exist_ok=True)
    _write_json(target / "1_Pooling" / "config.json", pooling)
    settings = {"prompts": dict(base.folder.prompts), "similarity_fn_name": base.folder.similarity_fn_name}
    _write_json(target / _SETTINGS, settings)
    _write_json(target / _MODULES, _listing({"": _TRANSFORMER, "1_Pooling": _POOLING}))


def _listing(kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """Modules by their folders, as modules.json lists them."""
    numbered = enumerate(kinds.items())
    return [{"idx": index, "name": str(index), "path": path, "type": kind} for index, (path, kind) in numbered]


def _copy_if_there(file: Path, place: Path) -> None:
    if file.exists():
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / file.name)


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """None from the transformers library: training has its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
