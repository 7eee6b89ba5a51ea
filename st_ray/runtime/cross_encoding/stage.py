"""The pool of actors that scores shards of pairs, as a piece of a job's stage, and the figures of what it did."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from st_ray.models.pair_tokenizer import TokenizedPairs
from st_ray.runtime import pipeline
from st_ray.runtime.compute import Compute
from st_ray.runtime.config import LEAST_CORRELATION
from st_ray.runtime.corpus import Corpus, describe_shard
from st_ray.runtime.cross_encoding.config import CrossEncoderConfig
from st_ray.runtime.cross_encoding.reference import PairReference, make_pair_reference, measure_correlation
from st_ray.runtime.cross_encoding.shards import PairSource, ReadAnyShard, ReadShard
from st_ray.runtime.cross_encoding.steps import PairScorer, PairTokenizer, ScorePairs, ScorerLoader
from st_ray.runtime.meter import Meter
from st_ray.runtime.model_facts import ModelFacts
from st_ray.runtime.pipeline import Row
from st_ray.runtime.resources import ActorPlan
from st_ray.runtime.stage import Stage
from st_ray.runtime.stage_result import StageResult
from st_ray.runtime.work import CONVERSION
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Part

if TYPE_CHECKING:
    import ray.data

SHARD_PAIRS = {"cuda": 20_000, "cpu": 1_000}
"""Some seconds of work: less would cost more than it is worth to hand out, more would be lost with an actor."""


@dataclass(frozen=True)
class Scoring:
    """How pairs are scored, and by which actors.

    Attributes:
        actors: `plan_actors`' pool.
        meter: adds up what they do.
    """

    config: CrossEncoderConfig
    model: ModelFacts[ScorerLoader]
    compute: Compute
    actors: ActorPlan
    meter: Meter

    @property
    def loader(self) -> ScorerLoader:
        """Of the model as it is computed here."""
        return self.model.loader_for(self.compute)

    def connect(
        self,
        read: Callable[[Row], Row],
        some: Callable[[PairTokenizer, np.random.Generator], TokenizedPairs],
    ) -> Callable[[ray.data.Dataset, bool], ray.data.Dataset]:
        """For a `Stage`.

        Args:
            read: makes of a shard what `ScorePairs` takes.
            some: the tokens of the pairs of any shard, to measure fewer bits by.
        """
        actors, config = self.actors, self.config
        measure = None
        if not self.compute.exact:
            loader = self.model.loader_for(self.compute.reference)
            sample = functools.partial(make_pair_reference, loader, some, config.seed, actors.threads)
            least = config.least_agreement("min_correlation", LEAST_CORRELATION)
            measure = functools.partial(_measure, pipeline.known_to(actors, sample), least)
        make = functools.partial(
            ScorePairs, self.loader, actors.threads, config.batch_tokens, self.meter.client(), measure
        )
        return pipeline.TasksThenActors(read, make, actors)

    def stage(self, corpus: Corpus, source: PairSource, finish: Callable[[Row], Part], noun: str) -> Stage:
        """The scoring of the shards of a corpus.

        Args:
            finish: makes the part of what `ScorePairs` gives.
            noun: what the rows are called.
        """
        prompt = self.model.prompt
        some = ReadAnyShard(corpus.shards, source, prompt)
        return Stage(
            label="score",
            tasks=corpus.shards,
            rows=[shard.rows for shard in corpus.shards],
            connect=self.connect(ReadShard(self.loader, source, prompt), some),
            finish=finish,
            writers=self.writers,
            describe=describe_shard,
            noun=noun,
        )

    @property
    def writers(self) -> int:
        """Tasks that finish shards."""
        return max(1, self.actors.maximum // 2)


def scoring_figures(
    result: StageResult, actors: ActorPlan, totals: Mapping[str, float], start_up: Mapping[str, float]
) -> dict[str, Any]:
    """Counts and rates of a run that scored pairs; what an earlier run had committed is not in them.

    Args:
        totals: what the actors' meter has added up.
        start_up: seconds before the stage, by what they were spent on.
    """
    # Of few shards, all are nearly done when the first one is.
    many = len(result.fresh) > 4 * actors.maximum
    pairs = int(sum(entry.figures.get("pairs", entry.rows) for entry in result.fresh))
    share = pairs / max(1, result.rows)
    rate = share * result.steady_rate if many else pairs / max(result.seconds, 1e-9)
    return {
        "actors": actors.maximum,
        "threads_per_actor": actors.threads,
        "gpus_per_actor": actors.gpus,
        "shards_done_before": result.done_before,
        "pairs": pairs,
        "tokens": int(sum(entry.figures["tokens"] for entry in result.fresh)),
        "start_up_seconds": result.start_up(start_up, pipeline.step_name(ScorePairs), totals.get(CONVERSION, 0.0)),
        "seconds": round(sum(start_up.values()) + result.seconds, 3),
        "model_seconds": round(totals.get("seconds", 0.0), 3),
        "pairs_per_second": round(rate, 1),
    }


def least_correlation(entries: Sequence[ShardEntry]) -> float | None:
    """The worst rank correlation to float32 that an actor measured; None where float32 was computed."""
    measured = [entry.figures["correlation"] for entry in entries if "correlation" in entry.figures]
    return round(min(measured), 6) if measured else None


def _measure(reference: Callable[[], PairReference], least: float, scorer: PairScorer) -> dict[str, float]:
    return {"correlation": measure_correlation(scorer, reference(), least)}
