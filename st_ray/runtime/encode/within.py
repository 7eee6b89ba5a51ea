"""Texts that a job encodes first, into a folder of its output: an output of its own."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from typing import Any

from st_ray.runtime.config import ModelConfig, ModelJobConfig, TextConfig
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.scoring.vectors import StoredVectors

_OF_ACTORS = ("actors", "gpus_per_actor", "cpus_per_actor", "address", "debug")


def encode_within(
    config: ModelJobConfig, folder: str, loader: EncoderLoader | None, session: ExitStack, **flags: Any
) -> StoredVectors:
    """The finished embeddings in `folder`; what is missing of them is done. Raises what `encode` raises.

    Args:
        config: its flags for texts (it is a TextConfig too), models and actors are handed on.
        loader: an encoder of the caller's own.
        session: takes over the Ray session.
        flags: further ones of `EncodeConfig`; they win.
    """
    shared = [*(field.name for base in (TextConfig, ModelConfig) for field in fields(base)), *_OF_ACTORS]
    encode(EncodeConfig(output=folder, **{name: getattr(config, name) for name in shared} | flags), loader, session)
    return StoredVectors.open(folder)
