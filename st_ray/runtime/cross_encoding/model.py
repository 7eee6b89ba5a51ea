"""What the driver must know of a cross-encoder before workers load it, and how they load it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import ModelError
from st_ray.models.activation import NAMED
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.compute import FLOAT32, Compute
from st_ray.runtime.cross_encoding.config import CrossEncoderConfig
from st_ray.runtime.cross_encoding.steps import PairScorer, PairTokenizer, ScorerLoader
from st_ray.runtime.model_facts import ModelFacts, actor_bytes, check_files, graph_options, graph_settings, same_model


@dataclass(frozen=True)
class CrossEncoderLoader:
    """Loads the two halves of a cross-encoder where they are needed; a `ScorerLoader`."""

    model: str
    digest: str
    max_seq_length: int | None
    activation: str
    trust_remote_code: bool
    allow_pickle: bool
    compute: Compute = FLOAT32

    def tokenizer(self) -> PairTokenizer:
        """The tokenizer of the model folder, which is fetched if this machine lacks it."""
        from st_ray.models.pair_tokenizer import PairTokenizer
        from st_ray.models.tokenizer_cache import cached_tokenizer

        folder = read_pair_folder(same_model(self.model, self.digest)).model
        return PairTokenizer(cached_tokenizer(folder, self.digest, self.max_seq_length, self.trust_remote_code))

    def scorer(self, threads: int | None) -> PairScorer:
        """The model on this actor's GPU, or with `threads` CPU threads.

        Raises:
            ModelError: the folder is damaged, or this machine has another one under the same name.
        """
        from st_ray.models.cross_encoder import CrossEncoder

        path = same_model(self.model, self.digest, self.compute.file_name)
        return CrossEncoder(
            path,
            **graph_options(path, self.compute),
            threads=threads,
            max_length=self.max_seq_length,
            activation_fn=self.activation,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )


def inspect_cross_encoder(config: CrossEncoderConfig, model: str) -> tuple[ModelFacts[ScorerLoader], int]:
    """Check the model folder without loading weights; what is known of it, and its number of labels.

    Raises:
        ModelError: the folder is missing or damaged, or holds no cross-encoder.
        ConfigError: the model has no prompt of that name.
    """
    path = resolve_model(model, config.file_name)
    folder = read_pair_folder(path)
    check_files(folder.model, config)
    digest = model_digest(path)
    prompt = folder.model.prompt(config.prompt, config.prompt_name)
    activation = NAMED.get(config.activation, folder.activation)
    loader = CrossEncoderLoader(
        model=model,
        digest=digest,
        max_seq_length=config.max_seq_length,
        activation=activation,
        trust_remote_code=config.trust_remote_code,
        allow_pickle=config.allow_pickle,
    )
    about = {"cross_encoder": model, "activation": activation.rpartition(".")[2]}
    settings = {**_settings(config, digest, activation, prompt), **graph_settings(path, folder.model, config)}
    return ModelFacts(loader, prompt, settings, about, folder.model, actor_bytes(path)), folder.labels


def require_one_label(model: str, labels: int, why: str) -> None:
    """Raise ModelError for a model with more than one label."""
    if labels != 1:
        raise ModelError(f"{model} has {labels} labels, and {why}", "use a cross-encoder with one label")


def injected_scorer(config: CrossEncoderConfig, loader: ScorerLoader) -> ModelFacts[ScorerLoader]:
    """A caller's own scorer: its `repr` stands for the model's content."""
    prompt = config.prompt or ""
    about = {"cross_encoder": repr(loader), "activation": "its own"}
    return ModelFacts(loader, prompt, _settings(config, repr(loader), "", prompt), about)


def _settings(config: CrossEncoderConfig, digest: str, activation: str, prompt: str) -> dict[str, Any]:
    return {
        "cross_encoder": digest,
        "activation": activation,
        "prompt": prompt,
        "max_seq_length": config.max_seq_length,
    }
