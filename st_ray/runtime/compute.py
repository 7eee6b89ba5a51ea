"""Which backend and dtype a run computes with: what the flags say, what it was begun with, else what is fastest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from st_ray.core.environment import cpu_has_bfloat16
from st_ray.core.errors import ConfigError
from st_ray.models.backend import check_openvino, choose_backend
from st_ray.models.folder import ModelFolder
from st_ray.models.specs import StaticEmbeddingSpec
from st_ray.runtime.config import ModelConfig, ModelJobConfig
from st_ray.runtime.resources import ActorPlan, Node, cluster_can_grow, cluster_nodes, plan_actors

AUTO = "auto"
_GPUS_WITHOUT_BFLOAT16 = {"K80", "P4", "P100", "V100", "T4"}


@dataclass(frozen=True)
class Compute:
    """A backend and the dtype it computes in."""

    backend: str
    dtype: str


FLOAT32 = Compute("torch", "float32")
OWN = Compute("own", "float32")
"""An encoder of the caller's own."""


def begun_compute(config: ModelConfig, lineage: Mapping[str, Any] | None) -> Compute | None:
    """What the flags say, and where they say `auto` what the output was begun with; None where that leaves a gap."""
    begun = lineage or {}
    backend = config.backend if config.backend != AUTO else begun.get("backend", AUTO)
    dtype = config.dtype if config.dtype != AUTO else begun.get("dtype", AUTO)
    return None if AUTO in (backend, dtype) else Compute(backend, dtype)


def choose_compute(config: ModelConfig, folder: ModelFolder, gpu: bool, nodes: Sequence[Node]) -> Compute:
    """The flags' backend and dtype; for `auto`, the fastest here.

    Args:
        gpu: whether the actors have GPUs.
        nodes: the cluster's machines; the CPUs are taken to be like this one's.

    Raises:
        ConfigError: the backend is not installed, cannot run this model in this dtype, or does not run on GPUs.
    """
    backend = config.backend if config.backend != AUTO else choose_backend(folder, gpu)
    if backend == "openvino" and gpu:
        raise ConfigError(
            "--backend openvino runs on CPUs, and the actors have GPUs", "use --backend torch, or --gpus-per-actor 0"
        )
    static = isinstance(folder.first, StaticEmbeddingSpec)
    dtype = config.dtype if config.dtype != AUTO else "float32" if static else _fastest_dtype(gpu, nodes)
    if backend == "openvino":
        check_openvino(folder, dtype)
    return Compute(backend, dtype)


def has_bfloat16(gpu: bool, nodes: Sequence[Node]) -> bool:
    """Whether the GPUs of all machines compute in it, or their CPUs, which are taken to be like this one's."""
    if not gpu:
        return cpu_has_bfloat16()
    return not {node.accelerator for node in nodes if node.gpus} & _GPUS_WITHOUT_BFLOAT16


def _fastest_dtype(gpu: bool, nodes: Sequence[Node]) -> str:
    return "bfloat16" if has_bfloat16(gpu, nodes) else "float16" if gpu else "float32"


def actors_for(config: ModelJobConfig, compute: Compute | None, shards: int, actor_bytes: int) -> ActorPlan:
    """The pool that the flags ask for on the running cluster (see `plan_actors`)."""
    on_cpus = config.gpus_per_actor is None and "openvino" in (config.backend, compute.backend if compute else "")
    return plan_actors(
        cluster_nodes(),
        shards=shards,
        actor_bytes=actor_bytes,
        actors=config.actors,
        gpus_per_actor=0.0 if on_cpus else config.gpus_per_actor,
        cpus_per_actor=config.cpus_per_actor,
        can_grow=cluster_can_grow(),
    )
