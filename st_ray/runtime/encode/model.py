"""What the driver must know of a model before workers load it, and how they load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from st_ray.models.backend import check_openvino
from st_ray.models.folder import ModelFolder, check_weights, read_model_folder
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.compute import FLOAT32, OWN, Compute, begun_compute, choose_compute
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.steps import EncoderLoader, TokenEncoder, Tokenizer
from st_ray.runtime.model_files import actor_bytes, same_model
from st_ray.runtime.resources import Node


@dataclass(frozen=True)
class ModelLoader:
    """Loads the two halves of a bi-encoder where they are needed; an `EncoderLoader`."""

    model: str
    digest: str
    max_seq_length: int | None
    truncate_dim: int | None
    trust_remote_code: bool
    allow_pickle: bool
    compute: Compute = FLOAT32

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model folder, which is fetched if this machine lacks it."""
        from st_ray.models.tokenizer_cache import cached_tokenizer

        folder = read_model_folder(same_model(self.model, self.digest))
        return cached_tokenizer(folder, self.digest, self.max_seq_length, self.trust_remote_code)

    def encoder(self, threads: int | None) -> TokenEncoder:
        """The model on this actor's GPU, or with `threads` CPU threads.

        Raises:
            ModelError: the folder is damaged, or this machine has another one under the same name.
        """
        from st_ray.models.bi_encoder import BiEncoder

        return BiEncoder(
            same_model(self.model, self.digest),
            backend=self.compute.backend,
            dtype=self.compute.dtype,
            threads=threads,
            max_seq_length=self.max_seq_length,
            truncate_dim=self.truncate_dim,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )


@dataclass(frozen=True)
class ModelFacts:
    """A checked model: how workers load it, the prompt to use, and what identifies its embeddings.

    Attributes:
        settings: everything of the model and its settings that changes an embedding, but for how it is computed.
        about: what a reader of the store wants to know.
        folder: None for an encoder of the caller's own, which computes as it likes.
        actor_bytes: memory that an actor with this model takes, roughly.
    """

    loader: EncoderLoader
    prompt: str
    settings: Mapping[str, Any]
    about: Mapping[str, Any]
    folder: ModelFolder | None = None
    actor_bytes: int = 0

    def begun_compute(self, config: EncodeConfig, begun: Mapping[str, Any] | None) -> Compute | None:
        """How it is computed, as far as that is known before the machines are (see `compute.begun_compute`).

        Raises:
            ConfigError: it cannot be computed so.
        """
        if self.folder is None:
            return OWN
        compute = begun_compute(config, begun)
        if compute is not None and compute.backend == "openvino":
            check_openvino(self.folder, compute.dtype)
        return compute

    def choose_compute(self, config: EncodeConfig, gpu: bool, nodes: Sequence[Node]) -> Compute:
        """How it is computed on these machines (see `compute.choose_compute`)."""
        return OWN if self.folder is None else choose_compute(config, self.folder, gpu, nodes)

    def loader_for(self, compute: Compute) -> EncoderLoader:
        """The loader of an encoder that computes so."""
        return replace(self.loader, compute=compute) if isinstance(self.loader, ModelLoader) else self.loader


def inspect_model(config: EncodeConfig) -> ModelFacts:
    """Check the model folder without loading weights.

    Raises:
        ModelError: the folder is missing, damaged, or holds a module that is not supported.
        ConfigError: the model has no prompt of that name.
    """
    path = resolve_model(config.model)
    folder = read_model_folder(path)
    check_weights(folder, allow_pickle=config.allow_pickle)
    digest = model_digest(path)
    prompt = folder.prompt(config.prompt, config.prompt_name)
    loader = ModelLoader(
        model=config.model,
        digest=digest,
        max_seq_length=config.max_seq_length,
        truncate_dim=config.truncate_dim,
        trust_remote_code=config.trust_remote_code,
        allow_pickle=config.allow_pickle,
    )
    about = {"model": config.model, "similarity": folder.similarity_fn_name}
    return ModelFacts(loader, prompt, _settings(config, digest, prompt), about, folder, actor_bytes(path))


def injected_model(config: EncodeConfig, loader: EncoderLoader) -> ModelFacts:
    """A caller's own encoder: its `repr` stands for the model's content."""
    prompt = config.prompt or ""
    return ModelFacts(loader, prompt, _settings(config, repr(loader), prompt), {"model": repr(loader)})


def _settings(config: EncodeConfig, digest: str, prompt: str) -> dict[str, Any]:
    return {
        "model": digest,
        "prompt": prompt,
        "normalize": config.normalize,
        "truncate_dim": config.truncate_dim,
        "max_seq_length": config.max_seq_length,
        "precision": config.precision,
    }
