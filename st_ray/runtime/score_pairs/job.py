"""Find the columns of the texts, score their pairs, publish texts and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal

from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.compute import Compute
from st_ray.runtime.corpus import Corpus
from st_ray.runtime.cross_encoding.model import injected_scorer, inspect_cross_encoder, require_one_label
from st_ray.runtime.cross_encoding.stage import Scoring, least_correlation
from st_ray.runtime.cross_encoding.steps import ScorerLoader
from st_ray.runtime.data_scoring import LISTS_OF_A_SHARD, PAIRS_OF_A_SHARD, DataScoring
from st_ray.runtime.meter import Meter
from st_ray.runtime.report.page import PAGE, write_report
from st_ray.runtime.report.scores import score_sections
from st_ray.runtime.resources import ActorPlan
from st_ray.runtime.result import JobResult
from st_ray.runtime.score_pairs.config import ScorePairsConfig
from st_ray.runtime.score_pairs.rows import ID, SCORE, SCORES, WHY_ONE_LABEL, TextSource, make_part
from st_ray.runtime.score_pairs.summary import score_pairs_facts
from st_ray.runtime.stage import Stage
from st_ray.runtime.training.layout import ExampleFlags, Layout, find_layout, find_texts
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import OutputFolder
from st_ray.store.readers.columns import LISTS_OF_NUMBERS
from st_ray.store.readers.sources import input_columns
from st_ray.store.readers.spec import ReadSpec, ValueColumn

KIND = "scored pairs"


def score_pairs(
    config: ScorePairsConfig, loader: ScorerLoader | None = None, session: ExitStack | None = None
) -> JobResult:
    """Run the job to its end.

    Args:
        config: see `ScorePairsConfig`.
        loader: a scorer of the caller's own in place of a model folder's.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad data, model, output or resources, before any model is loaded; ShardError if some shards failed
            (the others stay committed).
    """

    def report(done: JobResult, laps: Mapping[str, float]) -> None:
        (scored,) = done.stages
        write_report(config, done, score_pairs_facts(done), laps, done.stages, score_sections(scored))

    with ExitStack() as stack:
        return RowScoring(config, loader).run(session or stack, report)


class RowScoring(DataScoring[ScorerLoader]):
    """Scoring of rows of texts.

    Args:
        loader: a scorer of the caller's own in place of a model folder's.

    Raises:
        StRayError: bad files, columns or model; no row is read and no weight loaded for that.
    """

    def __init__(self, config: ScorePairsConfig, loader: ScorerLoader | None) -> None:
        layout = _layout(config)
        if loader is not None:
            model = injected_scorer(config, loader)
        else:
            model, labels = inspect_cross_encoder(config, config.cross_encoder)
            if layout.format != "pairs":
                require_one_label(config.cross_encoder, labels, WHY_ONE_LABEL)
        self._flags, self._layout = config, layout
        kind: Literal["text", "texts"] = "texts" if layout.format == "lists" else "text"
        spec = config.spec_of(layout.query, *(ValueColumn(name, kind) for name in layout.documents))
        super().__init__(
            config, OutputFolder(config.output, KIND, beside=(PAGE,)), model, spec, _rows_of_a_shard(layout)
        )

    def _stage(self, corpus: Corpus, compute: Compute, actors: ActorPlan, meter: Meter) -> Stage:
        source = TextSource(corpus.spec, self._flags.on_bad_row)
        scoring = Scoring(self._flags, self._model, compute, actors, meter)
        return scoring.stage(corpus, source, make_part, noun="rows")

    def _about(self, entries: Sequence[ShardEntry]) -> dict[str, Any]:
        return {
            "format": self._layout.format,
            "columns": {"query": self._layout.query, "documents": list(self._layout.documents)},
            "pairs": sum(int(entry.figures["all_pairs"]) for entry in entries),
            "distinct_pairs": sum(int(entry.figures["pairs"]) for entry in entries),
            "labels": int(entries[0].figures["labels"]),
            "scores": _distribution(entries),
            "min_rank_correlation_to_float32": least_correlation(entries),
        }


def _layout(config: ScorePairsConfig) -> Layout:
    """Raises InputError where there are no such columns; ConfigError where the result would have two of one name."""
    columns = input_columns(config.data, ReadSpec(columns=config.columns or None, quotes=config.quotes))
    if not columns:
        raise InputError(f"{', '.join(config.data[:3])}: no input holds any row", "check the inputs")
    texts = [column for column in columns if column[0] != config.id_column]
    layout = find_texts(texts, config.data, config.text_columns)
    added = {SCORE, SCORES} | ({ID} if config.id_column else set())
    for name in (layout.query, *layout.documents):
        if name in added:
            raise ConfigError(f"the result would have two columns named {name!r}", "rename that of the data")
    return _as_training_reads(layout)


def _as_training_reads(layout: Layout) -> Layout:
    """The layout with a tuple's documents in the order that training finds them in, so that each has its own score.

    Raises:
        ConfigError: training would take another column for the query.
    """
    names = (layout.query, *layout.documents)
    columns = [*((name, "string") for name in names), (SCORES, LISTS_OF_NUMBERS)]
    try:
        read = find_layout(columns, ExampleFlags(data=(), loss="mse"))
    except InputError:
        return layout  # pairs and lists; or tuples that training must be told the columns of
    if sorted(names) != sorted((read.query, *read.documents)):
        return layout
    if read.query != layout.query:
        raise ConfigError(
            f"--text-columns names {layout.query!r} as the query, training would take {read.query!r} of the result",
            "name the query first, or rename the columns",
        )
    return replace(layout, documents=read.documents)


def _rows_of_a_shard(layout: Layout) -> tuple[int, int]:
    if layout.format == "lists":
        return LISTS_OF_A_SHARD
    least, most = (max(1, pairs // len(layout.documents)) for pairs in PAIRS_OF_A_SHARD)
    return least, most


def _distribution(entries: Sequence[ShardEntry]) -> dict[str, float] | None:
    """Of all scores; None where there are none."""
    found = [entry.figures for entry in entries if "sum_of_scores" in entry.figures]
    if not found:
        return None
    count = sum(figures["all_pairs"] * figures["labels"] for figures in found)
    return {
        "min": min(figures["least_score"] for figures in found),
        "mean": sum(figures["sum_of_scores"] for figures in found) / count,
        "max": max(figures["greatest_score"] for figures in found),
    }
