"""Labelled pairs to a cross-encoder's scores, as committed, resumable shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from st_ray.core.errors import ConfigError
from st_ray.runtime.compute import Compute
from st_ray.runtime.corpus import Corpus
from st_ray.runtime.cross_encoding.model import injected_scorer, inspect_cross_encoder
from st_ray.runtime.cross_encoding.stage import Scoring, least_correlation
from st_ray.runtime.cross_encoding.steps import ScorerLoader
from st_ray.runtime.data_scoring import LISTS_OF_A_SHARD, PAIRS_OF_A_SHARD, DataScoring
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig
from st_ray.runtime.evaluation.labelled import LabelledSource, make_part
from st_ray.runtime.meter import Meter
from st_ray.runtime.resources import ActorPlan
from st_ray.runtime.stage import Stage
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import OutputFolder
from st_ray.store.scores import KIND


class PairScoring(DataScoring[ScorerLoader]):
    """Scoring by a cross-encoder.

    Args:
        loader: a scorer of the caller's own in place of a model folder's.

    Raises:
        StRayError: bad flags, files, columns or model; no row is read and no weight loaded for that.
    """

    def __init__(self, config: EvaluateCrossEncoderConfig, folder: str, loader: ScorerLoader | None) -> None:
        labels = None
        if loader is not None:
            model = injected_scorer(config, loader)
        else:
            model, labels = inspect_cross_encoder(config, str(config.cross_encoder))
            _check_labels(config, labels)
        self._flags = config
        rows = LISTS_OF_A_SHARD if config.of_documents else PAIRS_OF_A_SHARD
        super().__init__(config, OutputFolder(folder, KIND), model, config.pair_spec(labels), rows)

    def _stage(self, corpus: Corpus, compute: Compute, actors: ActorPlan, meter: Meter) -> Stage:
        flags = self._flags
        source = LabelledSource(corpus.spec, flags.on_bad_row, flags.of_documents)
        scoring = Scoring(flags, self._model, compute, actors, meter)
        return scoring.stage(corpus, source, make_part, noun="queries" if flags.of_documents else "pairs")

    def _about(self, entries: Sequence[ShardEntry]) -> dict[str, Any]:
        return {
            "documents": self._flags.of_documents,
            "labels": self._flags.judge.labels,
            "min_rank_correlation_to_float32": least_correlation(entries),
        }


def _check_labels(config: EvaluateCrossEncoderConfig, labels: int) -> None:
    if config.judge.several_scores != (labels > 1):
        needed = "two labels or more" if config.judge.several_scores else "one label"
        raise ConfigError(
            f"--evaluator {config.evaluator} needs a model with {needed}; {config.cross_encoder} has {labels}",
            "choose another --evaluator or another --cross-encoder",
        )
