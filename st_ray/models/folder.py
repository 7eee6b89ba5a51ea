"""A model folder's own description: its modules, prompts and settings. No weight is loaded to read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.specs import (
    DenseSpec,
    LayerNormSpec,
    ModuleSpec,
    PoolingSpec,
    StaticEmbeddingSpec,
    TransformerSpec,
    listed_modules,
    read_module,
    read_object,
    require_transformer,
)
from st_ray.models.weights import check_weight_files

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
_CHAT_FILES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True)
class ModelFolder:
    """What a folder says of its model.

    Attributes:
        modules: in the order in which they run; the first takes the text.
        prompts: prompt texts by name; `query` and `document` always exist, if only as empty texts.
        truncate_dim: leading dimensions of an embedding to keep, where the folder states it.
    """

    path: Path
    modules: tuple[ModuleSpec, ...]
    prompts: Mapping[str, str]
    default_prompt_name: str | None = None
    similarity_fn_name: str = "cosine"
    truncate_dim: int | None = None

    @property
    def first(self) -> TransformerSpec | StaticEmbeddingSpec:
        """The module that takes the text."""
        first = self.modules[0] if self.modules else None
        if not isinstance(first, (TransformerSpec, StaticEmbeddingSpec)):
            raise ModelError(f"{self.path / 'modules.json'} does not begin with a module that takes text")
        return first

    @property
    def max_seq_length(self) -> int | None:
        """Tokens a text is cut to, where the folder states it beside the tokenizer's own limit."""
        return self.first.max_seq_length if isinstance(self.first, TransformerSpec) else None

    @property
    def do_lower_case(self) -> bool:
        """Whether texts are lower-cased before the tokenizer's own normaliser."""
        return isinstance(self.first, TransformerSpec) and self.first.do_lower_case

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None) -> str:
        """The text to put before every input: `prompt` itself, else the prompt of that name, else the default.

        Raises:
            ConfigError: the model has no prompt of that name.
        """
        if prompt is not None:
            return prompt
        name = prompt_name if prompt_name is not None else self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            raise ConfigError(
                f"the model {self.path} has no prompt named {name!r}",
                f"use one of {', '.join(sorted(self.prompts))}, or give the prompt itself",
            )
        return self.prompts[name]


def read_model_folder(path: str | Path) -> ModelFolder:
    """Read `path`: a folder with modules.json, or a plain transformers folder, which gets a pooling of its own.

    Raises:
        ModelError: the folder or a file of it is missing or broken, or it asks for something not supported.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(f"there is no model folder at {folder}", "check the path")
    listing = folder / "modules.json"
    if not listing.exists():
        return ModelFolder(folder, _plain_modules(folder), prompts={"query": "", "document": ""})
    modules = _modules(listing)
    settings = folder / "config_sentence_transformers.json"
    stated = _model_settings(settings, read_object(settings) if settings.exists() else {})
    model = ModelFolder(folder, modules, **stated)
    _require_sentence_embedding(model, listing)
    return model


def read_prompts(
    file: Path, settings: Mapping[str, Any], known: Mapping[str, str]
) -> tuple[dict[str, str], str | None]:
    """The prompts in `settings`, read from `file`, beside those `known`, and the name of the default one.

    Raises:
        ModelError: there is no prompt of that name.
    """
    prompts = dict(known) | {name: text or "" for name, text in (settings.get("prompts") or {}).items()}
    default = settings.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ModelError(f"{file} names the default prompt {default!r}, but has only {sorted(prompts)}")
    return prompts, default


def check_weights(folder: ModelFolder, allow_pickle: bool = False, graph: str | None = None) -> None:
    """Find missing, truncated or only pickled weight files of every module, by size and header alone.

    Args:
        graph: of an exported graph that stands for the first module, whose weights need not be there then.

    Raises:
        ModelError: naming the file.
    """
    for module in folder.modules[graph is not None :]:
        if isinstance(module, (TransformerSpec, StaticEmbeddingSpec, DenseSpec, LayerNormSpec)):
            check_weight_files(module.path, allow_pickle)


def _modules(listing: Path) -> tuple[ModuleSpec, ...]:
    modules = [read_module(kind, path, listing) for kind, path in listed_modules(listing)]
    return tuple(module for module in modules if module is not None)


def _require_sentence_embedding(model: ModelFolder, listing: Path) -> None:
    first, rest = model.first, model.modules[1:]
    if any(isinstance(module, (TransformerSpec, StaticEmbeddingSpec)) for module in rest):
        raise ModelError(f"{listing} has a module that takes text after the first place")
    poolings = sum(isinstance(module, PoolingSpec) for module in rest)
    if poolings != isinstance(first, TransformerSpec):
        raise ModelError(f"{listing} has {poolings} Pooling modules, expected one after a Transformer and no others")


def _model_settings(file: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    kind = settings.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise ModelError(f"{file} describes a {kind}, not a model for sentence embeddings", "use an embedding model")
    prompts, default = read_prompts(file, settings, {"query": "", "document": ""})
    similarity = settings.get("similarity_fn_name")
    return {
        "prompts": prompts,
        "default_prompt_name": default,
        "similarity_fn_name": similarity if similarity in SIMILARITIES else "cosine",
        "truncate_dim": settings.get("truncate_dim"),
    }


def _plain_modules(folder: Path) -> tuple[ModuleSpec, ...]:
    """Mean pooling; the last token's embedding for a causal language model."""
    config = require_transformer(folder)
    if _has_chat_template(folder):
        raise ModelError(
            f"{folder} is a chat model: its tokenizer has a chat template, and it has no modules.json",
            "add a modules.json with Transformer and Pooling to encode plain text with it",
        )
    architectures = config.get("architectures") or [""]
    causal = architectures[0].endswith("ForCausalLM") and config.get("is_causal", True)
    return TransformerSpec(folder), PoolingSpec(("lasttoken" if causal else "mean",))


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).exists() for name in _CHAT_FILES):
        return True
    tokenizer = folder / "tokenizer_config.json"
    return tokenizer.exists() and read_object(tokenizer).get("chat_template") is not None
