"""Fitting the actor pool to machines."""

from __future__ import annotations

import pytest

from st_ray.core.errors import ConfigError, ResourceError
from st_ray.runtime.resources import Node, machine_for, parse_actors, plan_actors, task_count


def test_a_laptop_gets_an_actor_a_cpu_and_keeps_some_for_reading() -> None:
    plan = plan_actors([Node(2, 0)], shards=100)
    assert (plan.minimum, plan.maximum, plan.cpus, plan.threads) == (1, 2, 0.75, 1)


@pytest.mark.parametrize(
    ("machine", "actors", "threads"), [(Node(2, 0), 1, 2), (Node(4, 0), 1, 4), (Node(16, 0), 4, 4), (Node(6, 0), 2, 3)]
)
def test_cpus_that_one_actor_makes_good_use_of(machine: Node, actors: int, threads: int) -> None:
    plan = plan_actors([machine], shards=100, cpus_together=4)
    assert (plan.maximum, plan.threads) == (actors, threads)
    assert plan.maximum * plan.cpus + 0.5 <= machine.cpus


def test_cpus_together_say_nothing_of_gpus_and_yield_to_flags() -> None:
    assert plan_actors([Node(8, 4)], shards=100, cpus_together=4) == plan_actors([Node(8, 4)], shards=100)
    plan = plan_actors([Node(8, 0)], shards=100, cpus_per_actor=1, cpus_together=4)
    assert plan == plan_actors([Node(8, 0)], shards=100, cpus_per_actor=1)
    for actors in ("2", "1:2"):
        plan = plan_actors([Node(2, 0)], shards=100, actors=actors, cpus_together=4)
        assert plan == plan_actors([Node(2, 0)], shards=100, actors=actors)
        assert plan.maximum == 2


def test_memory_bounds_the_actors_of_a_machine() -> None:
    plan = plan_actors([Node(32, 0, memory=64 << 30)], shards=100, actor_bytes=15 << 30)
    assert plan.maximum == 4
    assert plan.maximum * plan.cpus + 0.5 <= 32
    assert plan.threads == 8


def test_one_actor_a_gpu() -> None:
    plan = plan_actors([Node(4, 0), Node(8, 4), Node(8, 4)], shards=100)
    assert (plan.maximum, plan.gpus, plan.cpus) == (8, 1.0, 1.0)
    assert plan.readers == 24


def test_never_more_actors_than_shards() -> None:
    plan = plan_actors([Node(8, 4)], shards=2, actors="3:4")
    assert (plan.minimum, plan.maximum) == (2, 2)


def test_a_pool_that_would_starve_its_readers_is_refused() -> None:
    with pytest.raises(ResourceError, match=r"2 actors of 1 CPUs do not fit: Ray has 2 CPUs.* so 1 fit"):
        plan_actors([Node(2, 0)], shards=9, actors="2", cpus_per_actor=1)


def test_the_maximum_shrinks_to_what_fits() -> None:
    assert plan_actors([Node(4, 0)], shards=9, actors="1:8", cpus_per_actor=1).maximum == 3


def test_an_autoscaler_may_bring_what_is_missing() -> None:
    plan = plan_actors([Node(2, 0)], shards=9, actors="0:4", gpus_per_actor=1, can_grow=True)
    assert (plan.minimum, plan.maximum, plan.gpus) == (1, 4, 1)


def test_a_growing_cluster_is_asked_for_the_maximum_and_must_hold_the_minimum() -> None:
    plan = plan_actors([Node(0, 0), Node(8, 1)], shards=99, actors="1:16", can_grow=True)
    assert (plan.minimum, plan.maximum, plan.initial) == (1, 16, 1)
    few = plan_actors([Node(0, 0), Node(8, 1)] * 3, shards=16, actors="1:16", can_grow=True)
    assert few.initial == 3  # what is there begins at once
    assert plan_actors([Node(8, 1)], shards=99, can_grow=True).maximum == 1  # auto counts what is there
    for actors in ("auto", "1:16"):
        with pytest.raises(ResourceError, match="--actors 0:MAX"):
            plan_actors([Node(0, 0)], shards=99, actors=actors, can_grow=True)


def test_tasks_take_all_cpus_and_those_that_an_autoscaler_may_bring() -> None:
    nodes = [Node(0.5, 0), Node(2, 0), Node(8, 1)]
    assert [task_count(nodes, tasks) for tasks in (0, 3, 99)] == [1, 3, 10]
    assert [task_count(nodes, 99, actors, can_grow=True) for actors in ("auto", "4", "0:16")] == [10, 10, 16]
    assert task_count(nodes, 99, "0:16") == 10
    assert task_count([], 99) == 1


@pytest.mark.parametrize(
    ("actors", "gpus", "cpus", "expected"),
    [
        ("auto", 1, 1, None),
        ("4", 1, 1, None),
        ("1:4", 1, 1, None),
        ("0:4", None, None, Node(1.5, 0)),
        ("0:4", 1, None, Node(1.5, 1)),
        ("0:4", 0, 7.5, Node(8, 0)),
    ],
)
def test_what_a_job_waits_for(actors: str, gpus: float | None, cpus: float | None, expected: Node | None) -> None:
    assert machine_for(actors, gpus, cpus) == expected


def test_gpus_that_are_not_there() -> None:
    with pytest.raises(ResourceError, match=r"--gpus-per-actor 1 was asked for, but Ray sees 0 GPUs"):
        plan_actors([Node(2, 0)], shards=1, gpus_per_actor=1)


@pytest.mark.parametrize("text", ["", "x", "-1", "4:2", "0", "1:2:3", "1.5"])
def test_bad_numbers_of_actors(text: str) -> None:
    with pytest.raises(ConfigError, match="--actors"):
        parse_actors(text)


def test_bad_cpus() -> None:
    with pytest.raises(ConfigError, match=r"--cpus-per-actor 0 must be more than 0"):
        plan_actors([Node(2, 0)], shards=1, cpus_per_actor=0)


@pytest.mark.parametrize("shape", [(2, 1), (8, 2), (16, 5), (7, 3)])
def test_actors_that_restart_elsewhere_cannot_take_every_cpu(shape: tuple[int, int]) -> None:
    cpus, threads = shape
    nodes = [Node(cpus, 0), Node(cpus, 0)]
    plan = plan_actors(nodes, shards=99, actors="1:99", cpus_per_actor=threads)
    assert plan.threads == threads
    assert cpus - (cpus // plan.cpus) * plan.cpus >= 0.5
    assert plan.fitted(nodes[:1]).maximum * 2 == plan.maximum
