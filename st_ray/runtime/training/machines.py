"""What a training runs on: which processes with which CPUs and GPUs, and in which arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from st_ray.core.errors import ConfigError, ResourceError
from st_ray.runtime.compute import has_bfloat16
from st_ray.runtime.resources import Node
from st_ray.runtime.training.config import TrainConfig


@dataclass(frozen=True)
class Machines:
    """The processes of a training.

    Attributes:
        workers: how many.
        cpus: logical CPUs that one reserves.
        gpus: GPUs of one.
        threads: compute threads of one.
    """

    workers: int
    cpus: float
    gpus: float
    threads: int

    @property
    def resources(self) -> dict[str, float]:
        """Of one process, as Ray names them."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}


def plan_machines(config: TrainConfig, nodes: Sequence[Node], can_grow: bool) -> Machines:
    """Fit the processes to the machines: a GPU each where there are any, else an equal share of a machine's CPUs.

    Raises:
        ConfigError: a flag's value makes no sense.
        ResourceError: they do not fit, and the cluster cannot grow.
    """
    for flag, least in (("cpus_per_actor", "above"), ("gpus_per_actor", "at least")):
        value = getattr(config, flag)
        if value is not None and not (0 <= value < math.inf and (value or least == "at least")):
            raise ConfigError(f"--{flag.replace('_', '-')} {value:g} must be {least} 0", "leave it out")
    workers = config.workers
    gpus = config.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if any(node.gpus for node in nodes) else 0.0
    most = max((int(node.cpus) for node in nodes), default=1)
    here = sum(1 for node in nodes if node.cpus) or 1
    share = max(1, most // math.ceil(workers / here))
    threads = int(config.cpus_per_actor or (1 if gpus else share))
    cpus = config.cpus_per_actor or (1.0 if gpus or share <= 2 else float(share - 1))
    room = sum(_fit(node, cpus, gpus) for node in nodes)
    if room < workers and not can_grow:
        each = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
        raise ResourceError(
            f"--workers {workers} of {each} do not fit: {room} do",
            "lower --workers or --cpus-per-actor, or add machines",
        )
    return Machines(workers, cpus, gpus, max(1, threads))


def choose_dtype(config: TrainConfig, gpu: bool, nodes: Sequence[Node]) -> str:
    """The flag's, or for `auto` bfloat16 where the hardware has it."""
    if config.dtype != "auto":
        return config.dtype
    return "bfloat16" if has_bfloat16(gpu, nodes) else "float32"


def _fit(node: Node, cpus: float, gpus: float) -> int:
    by_cpu = math.floor(node.cpus / cpus + 1e-9)
    return by_cpu if not gpus else min(by_cpu, math.floor(node.gpus / gpus + 1e-9))
