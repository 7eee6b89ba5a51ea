"""What the driver must know of a model before workers load it: one name, one content, and how it is computed."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from st_ray.core.errors import ModelError
from st_ray.models.backend import choose_backend
from st_ray.models.folder import ModelFolder, check_weights
from st_ray.models.graph_files import find_graph, graph_digest
from st_ray.models.source import model_digest, resolve_model
from st_ray.models.weights import holds_weights
from st_ray.runtime.compute import AUTO, OWN, Compute, actors_for, begun_compute, choose_compute
from st_ray.runtime.config import ModelConfig, ModelJobConfig
from st_ray.runtime.resources import cluster_nodes

Loader = TypeVar("Loader")


@dataclass(frozen=True)
class ModelFacts(Generic[Loader]):
    """A checked model: how workers load it, the prompt to use, and what identifies its results.

    Attributes:
        loader: of a model folder it has a field `compute`.
        settings: everything of the model and its settings that changes a result, but for how it is computed.
        about: what a reader of the output wants to know.
        folder: None for a model of the caller's own, which computes as it likes.
        actor_bytes: memory that an actor with this model takes, roughly.
    """

    loader: Loader
    prompt: str
    settings: Mapping[str, Any]
    about: Mapping[str, Any]
    folder: ModelFolder | None = None
    actor_bytes: int = 0

    def begun_compute(self, config: ModelConfig, begun: Mapping[str, Any] | None) -> Compute | None:
        """How it is computed, as far as that is known before the machines are (see `compute.begun_compute`).

        Raises:
            ConfigError: it cannot be computed so.
        """
        return OWN if self.folder is None else begun_compute(config, self.folder, begun)

    def settled_compute(self, config: ModelJobConfig, begun: Compute | None) -> Compute:
        """What the output was begun with, else what is fastest on the running cluster (see `choose_compute`)."""
        if begun is not None or self.folder is None:
            return begun or OWN
        gpu = actors_for(config, None, 1, self.actor_bytes).gpus > 0
        return choose_compute(config, self.folder, gpu, cluster_nodes())

    def loader_for(self, compute: Compute) -> Loader:
        """The loader of a model that computes so."""
        if self.folder is None:
            return self.loader
        loader: Any = self.loader
        changed: Loader = dataclasses.replace(loader, compute=compute)
        return changed


def same_model(model: str, digest: str, graph: str | None = None) -> Path:
    """The local folder of `model`, fetched if this machine lacks it, and its exported graph of that name.

    Raises:
        ModelError: it is not the one whose content has this digest.
    """
    path = resolve_model(model, graph)
    if model_digest(path) != digest:
        raise ModelError(
            f"{path} on {socket.gethostname()} is not the model that the driver sees under {model!r}",
            "give every machine the same model, for instance by an s3:// folder",
        )
    return path


def check_files(folder: ModelFolder, config: ModelConfig) -> None:
    """Find missing or damaged weights; where a graph is to be run, there may be none of the transformer.

    Raises:
        ModelError: naming the file.
    """
    alone = config.file_name is not None and not holds_weights(folder.first.path)
    check_weights(folder, config.allow_pickle, config.file_name if alone else None)


def graph_settings(path: Path, folder: ModelFolder, config: ModelConfig) -> dict[str, str]:
    """What of the settings identifies the exported graph that the flags name; nothing where they name none.

    Raises:
        ConfigError: the model folder `path` has no such graph.
    """
    name = config.file_name
    if name is None:
        return {}
    backend = config.backend if config.backend != AUTO else choose_backend(folder, gpu=False, file_name=name)
    found = find_graph(path, backend, name)
    return {"graph": f"{found.name} {graph_digest(found)}"}


def graph_options(path: Path, compute: Compute) -> dict[str, Any]:
    """How a `BiEncoder` or a `CrossEncoder` of the model folder `path` computes so.

    Raises:
        ModelError: the folder has not the graph that the driver sees.
    """
    name = compute.file_name
    if name is not None and graph_digest(find_graph(path, compute.backend, name)) != compute.file_digest:
        raise ModelError(
            f"{name} in {path} on {socket.gethostname()} is not the graph that the driver sees",
            "give every machine the same model, for instance by an s3:// folder",
        )
    return {"backend": compute.backend, "dtype": compute.dtype, "file_name": name}


def actor_bytes(path: Path) -> int:
    """Memory that an actor with the model in `path` takes, roughly."""
    weights = sum(file.stat().st_size for ending in ("safetensors", "bin") for file in path.rglob(f"*.{ending}"))
    # The process with its libraries, and the weights as they lie in the file, in the model and packed for the CPU.
    return (1 << 30) + 3 * weights
