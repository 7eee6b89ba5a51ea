"""The steps of a build: train, fill, measure; or, of a refresh, take over and measure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from st_ray.core.errors import InputError
from st_ray.index.build import train
from st_ray.index.files import write_index
from st_ray.index.output import MERGED, TRAINED, OpenedIndex
from st_ray.index.spec import IndexSpec
from st_ray.index.tune import Curve
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.fill import FillPart, fill_workers
from st_ray.runtime.build_index.measure import Probes, measure
from st_ray.runtime.build_index.refill import AppendPart, CarryPart
from st_ray.runtime.build_index.refresh import REFRESHED, OldIndex, rebuilt
from st_ray.runtime.build_index.sample import held_out, read_rows, training_rows
from st_ray.runtime.clock import Laps
from st_ray.runtime.meter import Meter, MeterClient
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.resources import cluster_nodes
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.lock import OutputLock
from st_ray.store.output import STAGING, OutputFolder, Writer

REFRESH = "refresh.json"
"""In the output: what `plan_refresh` settled."""
MATCHES = f"{STAGING}/refresh"


@dataclass(frozen=True)
class Built:
    """What the steps left: rows trained on, the parts, and how well they find, if that was asked for."""

    trained_on: int
    parts: StageResult
    curve: Curve | None


@dataclass(frozen=True)
class Steps:
    """What is settled before the training.

    Attributes:
        tasks: first row of each part, and the row after the last.
        old: the index to refresh, if there is one.
        refresh: what is done with it; see `plan_refresh`.
    """

    config: BuildIndexConfig
    store: StoredVectors
    spec: IndexSpec
    tasks: Sequence[tuple[int, int]]
    output: OutputFolder
    writer: Writer
    lock: OutputLock
    old: OldIndex | None
    refresh: Mapping[str, Any] | None

    @property
    def refreshed(self) -> OldIndex | None:
        """The index whose vectors are taken over; None where all are filled in anew."""
        return self.old if self.refresh is not None and self.refresh["how"] == REFRESHED else None

    def build(self, probes: StoredVectors | None, laps: Laps) -> Built:
        """Take all steps, as far as they are not done.

        Args:
            probes: queries to measure with, in place of rows that are held out.
        """
        trained_on = self.train()
        laps.end("train")
        parts = self.fill()
        laps.end("fill")
        curve = self.measure(parts, probes) if self.config.target_recall else None
        laps.end("measure")
        return Built(trained_on, parts, curve)

    def anew(self, why: str) -> Steps:
        """The steps of a build that takes nothing over; what was made is not theirs."""
        if self.old is None:
            raise ValueError("there is no older index")
        # Until the file tells of it, an interrupted run does all of the refresh again.
        for name in (MERGED, TRAINED):
            fs.remove(fs.join(self.output.folder, name))
        refresh = rebuilt(self.old, self.store, why)
        fs.write_atomic(fs.join(self.output.folder, REFRESH), json.dumps(refresh).encode())
        return dataclasses.replace(self, refresh=refresh)

    @property
    def trained(self) -> str:
        """Where the trained, empty index lies."""
        return fs.join(self.output.folder, TRAINED)

    def held_out(self) -> np.ndarray:
        """Positions of the rows to measure with."""
        if self.config.tune_queries or not self.config.target_recall:
            return np.empty(0, np.int64)
        return held_out(self.store, self.config.tune_rows, self.config.seed)

    def train(self) -> int:
        """Train on a sample in one task, or take the old training, unless that is done; the rows trained on."""
        if self.refreshed:
            if not fs.is_file(self.trained):
                fs.write_atomic(self.trained, self.refreshed.trained())
            return self.refreshed.about["trained_on"]
        wanted = self.config.train_rows or self.spec.train_rows(self.store.rows)
        wanted = min(wanted, self.store.rows) if self.spec.needs_training else 0
        if not fs.is_file(self.trained):
            rows = training_rows(self.store, wanted, self.config.seed, self.held_out())
            nodes = cluster_nodes()
            cpus = max(1, int(max(node.cpus for node in nodes)))
            gpus = 1 if any(node.gpus for node in nodes) and self.config.gpus_per_actor != 0 else None
            task = ray.remote(_train).options(num_cpus=cpus, num_gpus=gpus)
            result_of(task.remote(self.spec, self.config.seed, cpus, self.trained, *read_rows(self.store, rows)))
        return wanted

    def fill(self) -> StageResult:
        """The parts."""
        workers = fill_workers(self.config, cluster_nodes(), self.tasks, self.spec)
        # A part that was taken over is not one that is filled in.
        writer = self.writer
        if self.refreshed:
            writer = dataclasses.replace(writer, lineage=f"{writer.lineage} {REFRESHED}")
        meter = Meter()
        stage = Stage(
            label="fill",
            tasks=self.tasks,
            rows=[last - first for first, last in self.tasks],
            finish=self._finish(writer, max(1, int(workers.cpus)), meter.client()),
            writers=workers.count,
            writer_cpus=workers.cpus,
            writer_gpus=workers.gpus,
            suffix=".faiss",
            describe=lambda task: f"rows {task[0]:,} to {task[1] - 1:,}",
        )
        result = run_stage(stage, self.output, writer, self.lock, meter)
        filled = sum(entry.rows for entry in result.entries)
        if filled != self.store.rows:
            raise InputError(
                f"the parts hold {filled:,} vectors, {self.store.folder} has {self.store.rows:,}",
                "build again with --overwrite",
            )
        return result

    def _finish(self, writer: Writer, threads: int, meter: MeterClient | None) -> FillPart:
        common: dict[str, Any] = {
            "store": self.store,
            "spec": self.spec,
            "trained": self.trained,
            "training": f"{writer.run_id} {writer.lineage}",
            "threads": threads,
            "meter": meter,
        }
        old = self.refreshed
        if old is None or old.store is None:
            return FillPart(**common)
        if self.spec.is_graph:
            return AppendPart(**common, old=old.index)
        matches = fs.join(self.output.folder, MATCHES)
        return CarryPart(**common, old=old.index, old_store=old.store, matches=matches)

    def measure(self, parts: StageResult, probes: StoredVectors | None) -> Curve:
        """Recall against latency, by rows that are held out or by queries of the caller's."""
        if probes is not None:
            taken = probes.floats(probes.take(np.arange(min(self.config.tune_rows, probes.rows))))
            asked = Probes(taken, None)
        else:
            own = self.held_out()
            blocks = [result_of(ref) for ref in read_rows(self.store, own)]
            rows = np.concatenate(blocks) if blocks else np.empty((0, self.store.dimension), np.float32)
            asked = Probes(self.store.floats(rows) if self.store.is_binary else rows, own)
        near = self.refreshed.about["parameter"] if self.refreshed else None
        return measure(self.config, self._opened(parts), self.store, asked, near)

    def _opened(self, parts: StageResult) -> OpenedIndex:
        """The parts as a search sees them, before the manifest is written."""
        return OpenedIndex(
            folder=self.output.folder,
            entries=parts.entries,
            spec=self.spec,
            merged=None,
            mapped=False,
            parameter=None,
            embeddings=self.store.folder,
            embeddings_digest=self.store.digest,
            bytes=sum(entry.bytes for entry in parts.entries),
            digest="",
        )


def _train(spec: IndexSpec, seed: int, threads: int, url: str, *pieces: np.ndarray) -> None:
    import faiss

    faiss.omp_set_num_threads(threads)
    empty = np.empty((0, spec.columns), np.uint8 if spec.binary else np.float32)
    sample = np.concatenate([empty, *pieces])
    write_index(train(spec, sample, seed), url)
