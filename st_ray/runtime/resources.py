"""How many model actors, with which CPUs and GPUs, on the machines at hand; checked before anything starts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from st_ray.core.errors import ConfigError, ResourceError

TASK_CPUS = 0.25
"""Logical CPUs of one reading or writing task: they wait for storage most of the time."""
_GROUP_LABEL = "ray.io/node-group"
_IN_FLIGHT = 2
_KEEP_SHARE = 0.25
_READERS_PER_GPU = 3
_ACTORS_PER_READER = 8  # on CPUs: a tokenizer is some hundred times as fast as a model


@dataclass(frozen=True)
class Node:
    """Logical resources of one machine of the cluster; memory in bytes, `accelerator` as Ray names the GPU (A10G)."""

    cpus: float
    gpus: float
    memory: float = math.inf
    accelerator: str = ""

    def fits_into(self, other: Node) -> bool:
        """Whether `other` has as many CPUs and GPUs."""
        return self.cpus <= other.cpus and self.gpus <= other.gpus


@dataclass(frozen=True)
class ActorPlan:
    """The pool of model actors, and how many reading tasks feed it.

    Attributes:
        initial: actors to begin with; more come while shards wait.
        in_flight: shards that an actor has at once: the one that it works on, and one that waits for it.
        cpus: logical CPUs that one actor reserves; at least its threads, and so many more that the actors of a
            machine never hold all of its CPUs.
        threads: compute threads of one actor.
    """

    minimum: int
    maximum: int
    initial: int
    in_flight: int
    cpus: float
    threads: int
    gpus: float
    readers: int
    reader_cpus: float

    def fitted(self, nodes: Sequence[Node]) -> ActorPlan:
        """The same actors, at least one, as many as fit on what is left of the cluster."""
        room = max(1, sum(_fit(node, self.cpus, self.gpus) for node in nodes))
        maximum = min(self.maximum, room)
        return dataclasses.replace(self, minimum=1, maximum=maximum, initial=min(self.initial, maximum))


def machine_for(actors: str, gpus_per_actor: float | None, cpus_per_actor: float | None) -> Node | None:
    """The least machine that a job must wait for before it can plan its pool; None unless MIN of `actors` is 0."""
    bounds = parse_actors(actors)
    if bounds is None or bounds[0] > 0:
        return None
    return Node((cpus_per_actor or 1.0) + 2 * TASK_CPUS, gpus_per_actor or 0.0)


def parse_actors(text: str) -> tuple[int, int] | None:
    """`auto` -> None; `4` -> (4, 4); `1:8` -> (1, 8). Raises ConfigError otherwise."""
    if text == "auto":
        return None
    low, _, high = text.partition(":")
    try:
        minimum, maximum = int(low), int(high or low)
    except ValueError:
        minimum, maximum = -1, -1
    if minimum < 0 or maximum < max(1, minimum):
        raise ConfigError(
            f"--actors {text!r} is not a number of actors", "write auto, N or MIN:MAX with 0 <= MIN <= MAX and MAX >= 1"
        )
    return minimum, maximum


def plan_actors(
    nodes: Sequence[Node],
    *,
    shards: int,
    actor_bytes: int = 0,
    actors: str = "auto",
    gpus_per_actor: float | None = None,
    cpus_per_actor: float | None = None,
    cpus_together: int = 1,
    can_grow: bool = False,
) -> ActorPlan:
    """Fit the pool to `nodes`.

    Left to themselves: one actor a GPU; without GPUs one actor a CPU, or fewer with more threads where memory holds
    no more, or there are fewer shards. Threads of one actor wait for each other, and whatever interrupts one of them
    stops all, unless its model says otherwise: then one actor starts sooner than several, takes the memory of one, and
    no CPU is left without work while another has a shard to end.

    Some CPU is always left for the tasks that read and write, since a pool that holds every CPU would wait for its
    input for ever.

    Args:
        shards: work to share; more actors than that are never started.
        actor_bytes: memory that one actor takes.
        cpus_together: CPUs, at most, that one actor makes as good use of as several would; where `actors` is auto.
        can_grow: an autoscaler may add machines, so MIN alone has to fit, and the pool may grow to MAX.

    Raises:
        ConfigError: a flag's value makes no sense.
        ResourceError: the machines lack what the flags ask for.
    """
    bounds = parse_actors(actors)
    _check_positive("--cpus-per-actor", cpus_per_actor)
    _check_positive("--gpus-per-actor", gpus_per_actor, zero=True)
    total_gpus = sum(node.gpus for node in nodes)
    total_cpus = sum(node.cpus for node in nodes)
    gpus = gpus_per_actor if gpus_per_actor is not None else (1.0 if total_gpus else 0.0)
    waits = can_grow and bounds is not None and bounds[0] == 0
    if gpus > total_gpus and not waits:
        raise ResourceError(
            f"--gpus-per-actor {gpus:g} was asked for, but Ray sees {total_gpus:g} GPUs",
            "use --gpus-per-actor 0 to run on CPUs, or join a cluster that has GPUs with --address (--actors 0:MAX "
            "where an autoscaler adds them)",
        )
    if cpus_per_actor is not None:
        cpus = cpus_per_actor
    else:
        # As many actors as are asked for must fit.
        together = 1 if bounds else cpus_together
        cpus = 1.0 if gpus else _default_cpus(nodes, shards, actor_bytes, together)
    room = sum(_fit(node, cpus, gpus) for node in nodes)
    minimum, maximum = bounds or (1, room)
    if not waits:
        _check_room(max(1, minimum), room, cpus, gpus, total_cpus)
    if not can_grow:
        maximum = min(maximum, room)
    maximum = max(1, min(maximum, shards))
    minimum = max(1, min(minimum, maximum))
    threads = max(1, math.ceil(cpus))
    cpus = _leaving_room(nodes, cpus, gpus)
    readers = maximum * _READERS_PER_GPU if gpus else max(1, maximum // _ACTORS_PER_READER)
    reader_cpus = 1.0 if gpus and total_cpus >= maximum * cpus + readers + TASK_CPUS else TASK_CPUS
    # The first actor to be ready must not take what the others could begin with, nor keep them from being started.
    initial = max(minimum, min(maximum, room)) if shards <= _IN_FLIGHT * maximum else minimum
    in_flight = _IN_FLIGHT if shards > _IN_FLIGHT * maximum else 1
    return ActorPlan(minimum, maximum, initial, in_flight, cpus, threads, gpus, readers, reader_cpus)


def task_count(nodes: Sequence[Node], tasks: int, actors: str = "auto", can_grow: bool = False) -> int:
    """How many tasks of one CPU each, which have the cluster to themselves, run at once: one a CPU.

    Args:
        tasks: in all.
        actors: MIN:MAX of `--actors`; as many as MAX where machines may be added, even if there are fewer CPUs now.
        can_grow: an autoscaler may add machines.
    """
    bounds = parse_actors(actors) if can_grow else None
    room = max(sum(int(node.cpus) for node in nodes), bounds[1] if bounds else 0)
    return max(1, min(room, tasks))


def keep_bytes(plan: ActorPlan, nodes: Sequence[Node], gib: float | None = None) -> int:
    """Memory of an actor for what it would read anew otherwise: `gib`, or its share of a quarter of a machine's."""
    if gib is not None:
        return int(gib * (1 << 30))
    smallest = min((node for node in nodes if node.cpus), key=lambda node: node.memory, default=None)
    if smallest is None:
        return 0
    return int(_KEEP_SHARE * smallest.memory / max(1, smallest.cpus // plan.cpus))


def cluster_nodes() -> list[Node]:
    """The machines of the running Ray cluster."""
    import ray

    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [
        Node(float(r.get("CPU", 0)), float(r.get("GPU", 0)), float(r.get("memory", 0)), _accelerator(r)) for r in alive
    ]


def cluster_can_grow() -> bool:
    """Whether machines belong to groups, as those do that `ray up` and KubeRay start, and their autoscalers add.

    What an autoscaler could add is known to itself alone.
    """
    import ray

    return any(_GROUP_LABEL in node.get("Labels", {}) for node in ray.nodes() if node["Alive"])


def _accelerator(resources: Mapping[str, float]) -> str:
    return next((name.partition(":")[2] for name in resources if name.startswith("accelerator_type:")), "")


def _fit(node: Node, cpus: float, gpus: float) -> int:
    by_cpu = math.floor((node.cpus - 2 * TASK_CPUS) / cpus + 1e-9)
    return max(0, by_cpu if not gpus else min(by_cpu, math.floor(node.gpus / gpus + 1e-9)))


def _leaving_room(nodes: Sequence[Node], cpus: float, gpus: float) -> float:
    """The least reservation, `cpus` or more, with which no machine's CPUs can all go to actors.

    Actors restart wherever they fit. Two of them on a machine that was meant for one would leave nothing for the
    tasks that feed them, and the job would stand still.
    """
    wanted, most = cpus, max((node.cpus for node in nodes), default=0.0)
    while wanted <= most:
        by_node = ((node, math.floor(node.cpus / wanted + 1e-9)) for node in nodes if node.cpus)
        counts = ((node, min(n, math.floor(node.gpus / gpus)) if gpus else n) for node, n in by_node)
        if all(node.cpus - count * wanted >= 2 * TASK_CPUS - 1e-9 for node, count in counts):
            return round(wanted, 4)
        wanted += 0.05
    return cpus


def _default_cpus(nodes: Sequence[Node], shards: int, actor_bytes: int, together: int) -> float:
    working = [node for node in nodes if node.cpus]
    if not working:
        return 1.0
    smallest = min(working, key=lambda node: node.cpus)
    by_memory = min(node.memory for node in working) / actor_bytes if actor_bytes else math.inf
    groups = max(1, int(min(math.ceil(smallest.cpus / together), by_memory, math.ceil(shards / len(working)))))
    return max(TASK_CPUS, math.floor((smallest.cpus - 2 * TASK_CPUS) / groups * 100) / 100)


def _check_room(minimum: int, room: int, cpus: float, gpus: float, total_cpus: float) -> None:
    if minimum <= room:
        return
    each = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    raise ResourceError(
        f"{minimum} actors of {each} do not fit: Ray has {total_cpus:g} CPUs and reading and writing need "
        f"{2 * TASK_CPUS:g} on each machine, so {room} fit",
        "lower --actors or --cpus-per-actor, or add machines (--actors 0:MAX where an autoscaler adds them)",
    )


def _check_positive(flag: str, value: float | None, zero: bool = False) -> None:
    if value is not None and (value < 0 or (value == 0 and not zero)):
        bound = "0 or more" if zero else "more than 0"
        raise ConfigError(f"{flag} {value:g} must be {bound}", f"give {flag} a positive number")
