"""What the driver must know of a model before workers load it, and how they load it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from st_ray.models.folder import read_model_folder
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.compute import FLOAT32, Compute
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.steps import EncoderLoader, TokenEncoder, Tokenizer
from st_ray.runtime.model_facts import ModelFacts, actor_bytes, check_files, graph_options, graph_settings, same_model


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

        path = same_model(self.model, self.digest, self.compute.file_name)
        return BiEncoder(
            path,
            **graph_options(path, self.compute),
            threads=threads,
            max_seq_length=self.max_seq_length,
            truncate_dim=self.truncate_dim,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )


def inspect_model(config: EncodeConfig) -> ModelFacts[EncoderLoader]:
    """Check the model folder without loading weights.

    Raises:
        ModelError: the folder is missing, damaged, or holds a module that is not supported.
        ConfigError: the model has no prompt of that name.
    """
    path = resolve_model(config.model, config.file_name)
    folder = read_model_folder(path)
    check_files(folder, config)
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
    settings = {**_settings(config, digest, prompt), **graph_settings(path, folder, config)}
    return ModelFacts(loader, prompt, settings, about, folder, actor_bytes(path))


def injected_model(config: EncodeConfig, loader: EncoderLoader) -> ModelFacts[EncoderLoader]:
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
