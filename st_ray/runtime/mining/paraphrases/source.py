"""What is mined: an embedding store, that of an index, or texts that become one; checked before any work."""

from __future__ import annotations

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.mining.paraphrases.config import MineParaphrasesConfig
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.target import Target, open_target
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.vectors import StoredVectors


def open_rows(config: MineParaphrasesConfig, embeddings: str | None) -> Target:
    """What the flags name, by manifests alone; the store lies at `embeddings`, or where the index says.

    Raises:
        ConfigError: flags that do not fit it.
        InputError: it is missing, unfinished, an index whose embeddings have changed since, made of bits, or has no
            texts to keep.
    """
    target = _target(config, embeddings)
    store = target.store
    if store.is_binary:
        raise InputError(f"{store.folder} holds bits, not vectors to compare", "encode with --precision int8, say")
    config.check_min_score(target.similarity.name)
    if config.keep_text:
        store.columns_at(["text"], np.arange(min(1, store.rows)))
    return target


def _target(config: MineParaphrasesConfig, embeddings: str | None) -> Target:
    if config.index is None:
        store = StoredVectors.open(str(embeddings))
        similarity = similarity_of(config.similarity or store.similarity or "cosine")
        return Target(store, similarity, {"embeddings": store.digest})
    return open_target(
        SearchConfig(
            queries=("its own rows",),
            output=config.output,
            embeddings=embeddings,
            index=config.index,
            similarity=config.similarity,
            nprobe=config.nprobe,
            ef_search=config.ef_search,
        )
    )
