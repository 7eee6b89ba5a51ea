"""What the driver must know of a cross-encoder before workers load it, and how they load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from st_ray.core.errors import ModelError
from st_ray.models.activation import NAMED
from st_ray.models.backend import check_openvino
from st_ray.models.folder import check_weights
from st_ray.models.pair_folder import PairFolder, read_pair_folder
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.compute import FLOAT32, OWN, Compute, begun_compute, choose_compute
from st_ray.runtime.model_files import actor_bytes, same_model
from st_ray.runtime.rerank.config import RerankConfig
from st_ray.runtime.rerank.steps import PairScorer, PairTokenizer, ScorerLoader
from st_ray.runtime.resources import Node


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

        return CrossEncoder(
            same_model(self.model, self.digest),
            backend=self.compute.backend,
            dtype=self.compute.dtype,
            threads=threads,
            max_length=self.max_seq_length,
            activation_fn=self.activation,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )


@dataclass(frozen=True)
class ScorerFacts:
    """A checked cross-encoder.

    Attributes:
        settings: everything of the model and its settings that changes a score, but for how it is computed.
        about: what a reader of the hits wants to know.
        folder: None for a scorer of the caller's own, which computes as it likes.
        actor_bytes: memory that an actor with this model takes, roughly.
    """

    loader: ScorerLoader
    prompt: str
    settings: Mapping[str, Any]
    about: Mapping[str, Any]
    folder: PairFolder | None = None
    actor_bytes: int = 0

    def begun_compute(self, config: RerankConfig, begun: Mapping[str, Any] | None) -> Compute | None:
        """How it is computed, as far as that is known before the machines are. Raises ConfigError if it cannot be."""
        if self.folder is None:
            return OWN
        compute = begun_compute(config, begun)
        if compute is not None and compute.backend == "openvino":
            check_openvino(self.folder.model, compute.dtype)
        return compute

    def choose_compute(self, config: RerankConfig, gpu: bool, nodes: Sequence[Node]) -> Compute:
        """How it is computed on these machines (see `compute.choose_compute`)."""
        return OWN if self.folder is None else choose_compute(config, self.folder.model, gpu, nodes)

    def loader_for(self, compute: Compute) -> ScorerLoader:
        """The loader of a scorer that computes so."""
        return replace(self.loader, compute=compute) if isinstance(self.loader, CrossEncoderLoader) else self.loader


def inspect_cross_encoder(config: RerankConfig) -> ScorerFacts:
    """Check the model folder without loading weights.

    Raises:
        ModelError: the folder is missing or damaged, or holds no cross-encoder with one label.
        ConfigError: the model has no prompt of that name.
    """
    path = resolve_model(config.cross_encoder)
    folder = read_pair_folder(path)
    if folder.labels != 1:
        raise ModelError(
            f"{path} has {folder.labels} labels, and hits are ranked by one score",
            "use a cross-encoder with one label",
        )
    check_weights(folder.model, config.allow_pickle)
    digest = model_digest(path)
    prompt = folder.model.prompt(config.prompt, config.prompt_name)
    activation = NAMED.get(config.activation, folder.activation)
    loader = CrossEncoderLoader(
        model=config.cross_encoder,
        digest=digest,
        max_seq_length=config.max_seq_length,
        activation=activation,
        trust_remote_code=config.trust_remote_code,
        allow_pickle=config.allow_pickle,
    )
    about = {"cross_encoder": config.cross_encoder, "activation": activation.rpartition(".")[2]}
    return ScorerFacts(loader, prompt, _settings(config, digest, activation, prompt), about, folder, actor_bytes(path))


def injected_scorer(config: RerankConfig, loader: ScorerLoader) -> ScorerFacts:
    """A caller's own scorer: its `repr` stands for the model's content."""
    prompt = config.prompt or ""
    about = {"cross_encoder": repr(loader), "activation": "its own"}
    return ScorerFacts(loader, prompt, _settings(config, repr(loader), "", prompt), about)


def _settings(config: RerankConfig, digest: str, activation: str, prompt: str) -> dict[str, Any]:
    return {
        "cross_encoder": digest,
        "activation": activation,
        "prompt": prompt,
        "max_seq_length": config.max_seq_length,
    }
