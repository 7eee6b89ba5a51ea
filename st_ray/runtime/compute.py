"""Which backend and dtype a run computes with: what the flags say, what it was begun with, else what is fastest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from st_ray.core.environment import cpu_has_bfloat16
from st_ray.core.errors import ConfigError
from st_ray.models.backend import CPUS_TOGETHER, ON_CPUS, check_backend, choose_backend
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_files import find_graph, graph_digest
from st_ray.models.specs import StaticEmbeddingSpec
from st_ray.models.weights import holds_weights
from st_ray.runtime.config import ModelConfig, ModelJobConfig
from st_ray.runtime.resources import ActorPlan, Node, cluster_can_grow, cluster_nodes, plan_actors

AUTO = "auto"
_GPUS_WITHOUT_BFLOAT16 = {"K80", "P4", "P100", "V100", "T4"}


@dataclass(frozen=True)
class Compute:
    """A backend and the dtype it computes in.

    Attributes:
        file_name: of the model folder's exported graph that it runs; None where it runs the folder's weights.
        file_digest: of that graph's content.
        alone: the folder holds no weights beside that graph, so that there is nothing else to compare it with.
    """

    backend: str
    dtype: str
    file_name: str | None = None
    file_digest: str | None = None
    alone: bool = False

    @property
    def exact(self) -> bool:
        """Whether the results are those by which others are measured."""
        return self == self.reference

    @property
    def reference(self) -> Compute:
        """What gives the results that others are measured by: the weights in float32, else the graph alone."""
        return dataclasses.replace(self, dtype="float32") if self.alone else Compute(self.backend, "float32")

    @property
    def settings(self) -> dict[str, str]:
        """For the lineage of what is computed so; the graph stands among the model's own settings."""
        return {"backend": self.backend, "dtype": self.dtype}

    def __str__(self) -> str:
        graph = "" if self.file_name is None else f", {self.file_name}"
        return f"{self.backend} in {self.dtype}{graph}"


FLOAT32 = Compute("torch", "float32")
OWN = Compute("own", "float32")
"""An encoder of the caller's own."""


def begun_compute(config: ModelConfig, folder: ModelFolder, lineage: Mapping[str, Any] | None) -> Compute | None:
    """What the flags say, and where they say `auto` what the output was begun with; None where that leaves a gap.

    Args:
        lineage: of the output, where it was begun.

    Raises:
        ConfigError: it cannot be computed so.
    """
    begun = lineage or {}
    backend = config.backend if config.backend != AUTO else begun.get("backend", AUTO)
    dtype = config.dtype if config.dtype != AUTO else begun.get("dtype", AUTO)
    return None if AUTO in (backend, dtype) else _checked(backend, dtype, folder, config.file_name)


def choose_compute(config: ModelConfig, folder: ModelFolder, gpu: bool, nodes: Sequence[Node]) -> Compute:
    """The flags' backend and dtype; for `auto`, the fastest here.

    Args:
        gpu: whether the actors have GPUs.
        nodes: the cluster's machines; the CPUs are taken to be like this one's.

    Raises:
        ConfigError: the backend is not installed, cannot run this model in this dtype, or does not run on GPUs.
    """
    backend = config.backend if config.backend != AUTO else choose_backend(folder, gpu, config.file_name)
    if backend in ON_CPUS and gpu:
        raise ConfigError(
            f"--backend {backend} runs on CPUs, and the actors have GPUs", "use --backend torch, or --gpus-per-actor 0"
        )
    static = isinstance(folder.first, StaticEmbeddingSpec)
    only_float32 = static or backend == "onnx"
    dtype = config.dtype if config.dtype != AUTO else "float32" if only_float32 else _fastest_dtype(gpu, nodes)
    return _checked(backend, dtype, folder, config.file_name)


def _checked(backend: str, dtype: str, folder: ModelFolder, file_name: str | None) -> Compute:
    check_backend(backend, folder, dtype, file_name)
    if file_name is None:
        return Compute(backend, dtype)
    digest = graph_digest(find_graph(folder.path, backend, file_name))
    return Compute(backend, dtype, file_name, digest, alone=not holds_weights(folder.first.path))


def has_bfloat16(gpu: bool, nodes: Sequence[Node]) -> bool:
    """Whether the GPUs of all machines compute in it, or their CPUs, which are taken to be like this one's."""
    if not gpu:
        return cpu_has_bfloat16()
    return not {node.accelerator for node in nodes if node.gpus} & _GPUS_WITHOUT_BFLOAT16


def _fastest_dtype(gpu: bool, nodes: Sequence[Node]) -> str:
    return "bfloat16" if has_bfloat16(gpu, nodes) else "float16" if gpu else "float32"


def actors_for(config: ModelJobConfig, compute: Compute | None, shards: int, actor_bytes: int) -> ActorPlan:
    """The pool that the flags ask for on the running cluster (see `plan_actors`)."""
    backend = compute.backend if compute else config.backend
    on_cpus = config.gpus_per_actor is None and backend in ON_CPUS
    return plan_actors(
        cluster_nodes(),
        shards=shards,
        actor_bytes=actor_bytes,
        actors=config.actors,
        gpus_per_actor=0.0 if on_cpus else config.gpus_per_actor,
        cpus_per_actor=config.cpus_per_actor,
        cpus_together=CPUS_TOGETHER.get(backend, 1),
        can_grow=cluster_can_grow(),
    )
