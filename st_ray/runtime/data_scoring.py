"""Rows of data to scores, as committed, resumable shards: all that needs a model, whatever the scores are for."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from st_ray.runtime.clock import Laps
from st_ray.runtime.compute import Compute, actors_for
from st_ray.runtime.config import DataJobConfig
from st_ray.runtime.corpus import Corpus, ScanRequest, prepare_corpus, reading_lineage, stamps_digest
from st_ray.runtime.cross_encoding.stage import scoring_figures
from st_ray.runtime.joining import job_session
from st_ray.runtime.meter import Meter
from st_ray.runtime.model_facts import ModelFacts
from st_ray.runtime.report.page import laps_with
from st_ray.runtime.resources import ActorPlan
from st_ray.runtime.result import JobResult
from st_ray.runtime.session import data_context
from st_ray.runtime.stage import Stage, run_stage
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.output import STAGING, OutputFolder
from st_ray.store.readers.sources import resolve_inputs
from st_ray.store.readers.spec import ReadSpec

PAIRS_OF_A_SHARD = (2_000, 50_000)
"""The least and the most rows that are pairs."""
LISTS_OF_A_SHARD = (40, 2_000)
"""Likewise, rows that are queries with lists of documents."""
_SCAN_ROWS = 1_000
_SHARDS = 1_000
"""No more of them, so long as none is larger than some seconds of a GPU."""

Loader = TypeVar("Loader")


class DataScoring(ABC, Generic[Loader]):
    """The scoring of a job's data by the model of `Loader`.

    Args:
        output: of the scores.
        spec: the columns to read.
        rows: the least and the most rows of a shard, unless the flags say how many.

    Raises:
        InputError: no such file or column; no row is read for that.
        OutputError: the output holds something else.
    """

    def __init__(
        self,
        config: DataJobConfig,
        output: OutputFolder,
        model: ModelFacts[Loader],
        spec: ReadSpec,
        rows: tuple[int, int],
    ) -> None:
        self._config = config
        self._output = output
        self._output.check_usable()
        self._model = model
        files, spec = resolve_inputs(config.data, spec)
        self._request = ScanRequest(
            files=tuple(files),
            spec=spec,
            shard_rows=config.shard_rows or _SCAN_ROWS,
            staging=fs.join(self._output.folder, STAGING),
            on_bad_row=config.on_bad_row,
            fitting=None if config.shard_rows else functools.partial(_fitting, *rows),
        )

    @abstractmethod
    def _stage(self, corpus: Corpus, compute: Compute, actors: ActorPlan, meter: Meter) -> Stage:
        """The model's work on the shards."""

    @abstractmethod
    def _about(self, entries: Sequence[ShardEntry]) -> dict[str, Any]:
        """What a reader of the scores wants to know of the job."""

    def run(
        self, session: ExitStack, report: Callable[[JobResult, Mapping[str, float]], None] = lambda *_: None
    ) -> JobResult:
        """Score what is not scored yet.

        Args:
            session: takes over the Ray session.
            report: writes what else belongs into the output, by the result and the seconds that it took, by what they
                were spent on.

        Raises:
            StRayError: bad rows, output or resources, before any model is loaded; ShardError if some shards failed
                (the others stay committed).
        """
        laps = Laps()
        config, output, model, request = self._config, self._output, self._model, self._request
        compute = model.begun_compute(config, None if config.overwrite else output.begun_lineage())
        finished = None if config.overwrite or compute is None else output.manifest()
        if finished is not None and compute is not None and finished.about["stamps"] == stamps_digest(request.files):
            output.check_lineage(self._lineage(compute, finished.lineage["input"]))
            return JobResult(finished, output.folder, already_complete=True)
        with ExitStack() as stack:
            lock = stack.enter_context(output.lock())
            if config.overwrite:
                output.clear()
            if not request.small:
                session.enter_context(job_session(config))
            corpus = prepare_corpus(request)
            if compute is not None:
                output.check_lineage(self._lineage(compute, corpus.digest))
            laps.end("input and model")
            session.enter_context(job_session(config))
            data_context(config.debug)
            laps.end("Ray")
            compute = model.settled_compute(config, compute)
            actors = actors_for(config, compute, len(corpus.shards), model.actor_bytes)
            writer = output.begin(lineage := self._lineage(compute, corpus.digest))
            stage = self._stage(corpus, compute, actors, meter := Meter())
            result = run_stage(stage, output, writer, lock, meter)
            about = {
                **model.about,
                **self._about(result.entries),
                "data": list(config.data),
                "rows": corpus.rows - corpus.bad_rows,
                "stamps": corpus.stamps,
            }
            figures = scoring_figures(result, actors, meter.read(), laps.seconds)
            manifest = Manifest(output.kind, lineage, result.entries, about, figures)
            done = JobResult(manifest, output.folder, stages=(result,))
            report(done, laps_with(laps.seconds, result))
            output.finish(manifest)
        return done

    def _lineage(self, compute: Compute, digest: str) -> Lineage:
        return {
            "input": digest,
            **reading_lineage(self._request.spec, self._config.on_bad_row),
            "shard_rows": self._config.shard_rows,
            **self._model.settings,
            **compute.settings,
        }


def _fitting(least: int, most: int, rows: int) -> int:
    """Rows of a shard, by those of the data."""
    return min(max(-(-rows // _SHARDS), least), most)
