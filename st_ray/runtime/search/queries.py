"""Queries that come as texts: encoded by the encode job, as the corpus was, into a folder of the output."""

from __future__ import annotations

from contextlib import ExitStack

from st_ray.core.errors import ConfigError, InputError
from st_ray.models.folder import read_model_folder
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.encode.within import encode_within
from st_ray.runtime.search.base import QUERIES
from st_ray.runtime.search.config import SearchConfig
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.manifest import read_manifest

_PROMPT = "query"


def encode_queries(
    config: SearchConfig, corpus: StoredVectors, output: str, loader: EncoderLoader | None, session: ExitStack
) -> StoredVectors:
    """Encode the texts with the model and the settings of the corpus, unless that is done.

    Args:
        output: folder of the search.
        loader: an encoder of the caller's own.
        session: takes over the Ray session.

    Raises:
        ConfigError: it is not known which model made the corpus, or it has no such prompt.
        InputError: the model is another one than the corpus's; or what `encode` raises.
    """
    model = config.model or _model_name(corpus)
    prompt_name = config.prompt_name
    if loader is None:
        _check_model(model, corpus)
        if config.prompt is None and prompt_name is None:
            prompt_name = _PROMPT if _PROMPT in read_model_folder(resolve_model(model)).prompts else None
    made_with = corpus.lineage
    return encode_within(
        config,
        fs.join(output, QUERIES),
        loader,
        session,
        input=config.queries,
        model=model,
        prompt_name=prompt_name,
        normalize=bool(made_with.get("normalize", False)),
        truncate_dim=made_with.get("truncate_dim"),
        shard_rows=config.shard_rows,
    )


def _model_name(corpus: StoredVectors) -> str:
    name = read_manifest(corpus.folder).about.get("model")
    if not name:
        raise ConfigError(f"{corpus.folder} does not say which model made it", "name it with --model")
    return str(name)


def _check_model(model: str, corpus: StoredVectors) -> None:
    known = corpus.lineage.get("model")
    if known is not None and model_digest(resolve_model(model)) != known:
        raise InputError(
            f"{model} is not the model that made {corpus.folder}: its content differs",
            "name that model with --model, or encode the corpus again with this one",
        )
