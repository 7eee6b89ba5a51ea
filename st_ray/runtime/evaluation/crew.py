"""Evaluators as Ray actors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import ray

from st_ray.evaluation.judge import Judge, MetricState
from st_ray.runtime.config import JobConfig
from st_ray.runtime.evaluation.aggregate import RANGE_PAIRS, Crew, Here, absorbed
from st_ray.runtime.joining import job_session
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.resources import cluster_nodes
from st_ray.runtime.shuffle import spread
from st_ray.store.scores import ScoresPart, ScoreStore

_ALONE = 200_000
"""Pairs that one process is done with before others have started."""


def crew_for(config: JobConfig, store: ScoreStore, session: ExitStack) -> Crew:
    """Evaluators on Ray; this process alone for what it is done with sooner than others, or than a Ray, would start."""
    if store.manifest.rows <= (_ALONE if ray.is_initialized() else RANGE_PAIRS):
        return Here()
    session.enter_context(job_session(config))
    return OnRay()


class Evaluator:
    """An actor that gathers the states of parts into one; it can be asked again, since the parts are committed."""

    def state(self, judge: Judge, parts: Sequence[ScoresPart], seed: int) -> MetricState:
        """Of some parts, at least one."""
        return absorbed(judge, parts, seed)


class OnRay:
    """Evaluators on all CPUs of the cluster, each started when it is first needed; a `Crew`."""

    def __init__(self) -> None:
        self.size = max(1, int(sum(node.cpus for node in cluster_nodes())))
        self._evaluators: list[Any] = []

    def states(self, judge: Judge, groups: Sequence[Sequence[ScoresPart]], seed: int) -> list[MetricState]:
        """See `Crew.states`."""
        # They hold no CPU between two questions, so that other work never waits for one.
        how = {"num_cpus": 0, "scheduling_strategy": "SPREAD", "max_restarts": -1, "max_task_retries": 3}
        actor = ray.remote(Evaluator).options(**how)
        while len(self._evaluators) < len(groups):
            self._evaluators.append(actor.remote())
        refs = [one.state.remote(judge, group, seed) for one, group in zip(self._evaluators, groups, strict=False)]
        return [result_of(ref) for ref in refs]

    def spread(self, task: Callable[..., Sequence[Any]], calls: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
        """See `Crew.spread`."""
        return spread(task, calls, count)

    def value(self, ref: Any) -> Any:
        """See `Crew.value`."""
        return result_of(ref)
