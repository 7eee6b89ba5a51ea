"""Choose the recipe, train, fill the parts, join them, measure; each step is left alone where it was done before."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import ray

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.build import train
from st_ray.index.choose import choose_spec
from st_ray.index.files import write_index
from st_ray.index.output import KIND, MERGED, PLOT, TRAINED, OpenedIndex, about_of, spec_of
from st_ray.index.plot import curve_svg
from st_ray.index.spec import IndexSpec
from st_ray.index.tune import Curve
from st_ray.runtime.begin import begun, finished_before
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.fill import FillPart, cut_parts, fill_workers
from st_ray.runtime.build_index.join import join_parts
from st_ray.runtime.build_index.measure import Probes, measure
from st_ray.runtime.build_index.sample import held_out, read_rows, training_rows
from st_ray.runtime.clock import Laps
from st_ray.runtime.meter import Meter
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.resources import cluster_nodes
from st_ray.runtime.result import JobResult
from st_ray.runtime.stage import Stage, StageResult, run_stage
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Writer

_SPEC = "spec.json"


def build_index(config: BuildIndexConfig, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end.

    Args:
        config: see `BuildIndexConfig`.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: embeddings, flags, output or resources that do not do, before any training where that is possible;
            ShardError if some parts failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(_SPEC, TRAINED, MERGED, PLOT))
    output.check_usable()
    store = StoredVectors.open(config.embeddings)
    probes_store = StoredVectors.open(config.tune_queries) if config.tune_queries else None
    _check(config, store)
    lineage = _lineage(config, store, probes_store)
    finished = finished_before(config, output, lineage)
    if finished is not None:
        return finished
    with begun(config, output, lineage, laps, session) as (lock, writer):
        spec = spec_of(output.settle(_SPEC, lambda: about_of(_choose(config, store))))
        spec.check_rows(store.rows, store.folder)
        run = _Run(config, store, spec, output, writer, lock)
        trained_on = run.train()
        laps.end("train")
        result = run.fill()
        laps.end("fill")
        curve = run.measure(run.opened(result), probes_store) if config.target_recall else None
        laps.end("measure")
        merged = join_parts(output.folder, result.entries, spec, config.merge, curve.chosen if curve else None)
        laps.end("merge")
        manifest = Manifest(
            kind=KIND,
            lineage=lineage,
            entries=result.entries,
            about={
                **about_of(spec),
                "embeddings": store.folder,
                "rows": store.rows,
                "merged": MERGED if merged else None,
                "parameter": curve.chosen if curve else None,
                "trained_on": trained_on,
                "recall_at": config.recall_at,
                "target_recall": config.target_recall,
                "curve": curve.to_json() if curve else None,
            },
            run={"seconds": laps.seconds, "parts_done_before": result.done_before},
        )
        if curve and curve.points:
            title = f"{spec.factory}, {store.rows:,} x {store.dimension}: recall@{config.recall_at} and latency"
            fs.write_atomic(fs.join(output.folder, PLOT), curve_svg(curve, title))
        output.finish(manifest)
    return JobResult(manifest, output.folder)


def _check(config: BuildIndexConfig, store: StoredVectors) -> None:
    if store.rows == 0:
        raise InputError(f"{store.folder} holds no embeddings", "encode a corpus that has rows")
    if store.is_binary and config.similarity is not None:
        raise ConfigError(f"--similarity {config.similarity}: {store.folder} holds bits", "leave it out")
    if config.merge == "disk" and not fs.is_local(fs.open_fs(config.output)[0]):
        raise ConfigError("--merge disk needs an --output in a file system", "use --merge memory, or keep the parts")
    if config.factory != "auto":
        spec = _named(config, store)
        spec.check_rows(store.rows, store.folder)
        _check_merge(config, spec)
        if config.train_rows is not None and config.train_rows < spec.minimum_train_rows:
            raise ConfigError(
                f"--train-rows {config.train_rows}: {spec.factory} needs {spec.minimum_train_rows} at least",
                "raise it, or leave it out",
            )


def _check_merge(config: BuildIndexConfig, spec: IndexSpec) -> None:
    if config.merge != "no" and not spec.mergeable:
        raise ConfigError(f"--merge {config.merge}: the parts of {spec.factory} cannot be joined", "use --merge no")
    if config.merge == "disk" and not spec.mergeable_on_disk:
        raise ConfigError(f"--merge disk: {spec.factory} has no plain inverted lists", "use --merge memory")


def _similarity(config: BuildIndexConfig, store: StoredVectors) -> str:
    return config.similarity or store.similarity or "cosine"


def _named(config: BuildIndexConfig, store: StoredVectors) -> IndexSpec:
    return IndexSpec(config.factory, _similarity(config, store), store.dimension, store.is_binary)


def _choose(config: BuildIndexConfig, store: StoredVectors) -> IndexSpec:
    if config.factory != "auto":
        return _named(config, store)
    if config.memory_gib is not None:
        memory = int(config.memory_gib * (1 << 30))
    else:
        memory = int(sum(node.memory for node in cluster_nodes()) / 2)
    spec = choose_spec(
        store.rows, store.dimension, _similarity(config, store), memory, config.target_recall, store.is_binary
    )
    _check_merge(config, spec)
    return spec


def _lineage(config: BuildIndexConfig, store: StoredVectors, probes: StoredVectors | None) -> Lineage:
    names = ("factory", "memory_gib", "target_recall", "recall_at", "tune_rows", "merge", "train_rows", "part_rows")
    return {
        "embeddings": store.digest,
        "similarity": "hamming" if store.is_binary else _similarity(config, store),
        **{name: getattr(config, name) for name in (*names, "seed")},
        "tune_queries": probes.digest if probes else None,
    }


@dataclass(frozen=True)
class _Run:
    """What is settled before the training."""

    config: BuildIndexConfig
    store: StoredVectors
    spec: IndexSpec
    output: OutputFolder
    writer: Writer
    lock: OutputLock

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
        """Train on a sample in one task, unless that is done; the rows trained on."""
        wanted = self.config.train_rows or self.spec.train_rows(self.store.rows)
        wanted = min(wanted, self.store.rows) if self.spec.needs_training else 0
        if not fs.exists(self.trained):
            rows = training_rows(self.store, wanted, self.config.seed, self.held_out())
            nodes = cluster_nodes()
            cpus = max(1, int(max(node.cpus for node in nodes)))
            gpus = 1 if any(node.gpus for node in nodes) and self.config.gpus_per_actor != 0 else None
            task = ray.remote(_train).options(num_cpus=cpus, num_gpus=gpus)
            result_of(task.remote(self.spec, self.config.seed, cpus, self.trained, *read_rows(self.store, rows)))
        return wanted

    def fill(self) -> StageResult:
        """The parts."""
        tasks = cut_parts(self.store.rows, self.spec, self.config.part_rows)
        workers = fill_workers(self.config, cluster_nodes(), tasks, self.spec)
        meter = Meter()
        stage = Stage(
            label="fill",
            tasks=tasks,
            rows=[last - first for first, last in tasks],
            finish=FillPart(
                self.store, self.spec, self.trained, self.writer.run_id, max(1, int(workers.cpus)), meter.client()
            ),
            writers=workers.count,
            writer_cpus=workers.cpus,
            writer_gpus=workers.gpus,
            suffix=".faiss",
            describe=lambda task: f"rows {task[0]:,} to {task[1] - 1:,}",
        )
        result = run_stage(stage, self.output, self.writer, self.lock, meter)
        filled = sum(entry.rows for entry in result.entries)
        if filled != self.store.rows:
            raise InputError(
                f"the parts hold {filled:,} vectors, {self.store.folder} has {self.store.rows:,}",
                "build again with --overwrite",
            )
        return result

    def opened(self, result: StageResult) -> OpenedIndex:
        """The parts as a search sees them, before the manifest is written."""
        return OpenedIndex(
            folder=self.output.folder,
            entries=result.entries,
            spec=self.spec,
            merged=None,
            mapped=False,
            parameter=None,
            embeddings=self.store.folder,
            embeddings_digest=self.store.digest,
            bytes=sum(entry.bytes for entry in result.entries),
            digest="",
        )

    def measure(self, index: OpenedIndex, probes: StoredVectors | None) -> Curve:
        """Recall against latency, by rows that are held out or by queries of the caller's."""
        if probes is not None:
            taken = probes.floats(probes.take(np.arange(min(self.config.tune_rows, probes.rows))))
            asked = Probes(taken, None)
        else:
            own = self.held_out()
            blocks = [result_of(ref) for ref in read_rows(self.store, own)]
            rows = np.concatenate(blocks) if blocks else np.empty((0, self.store.dimension), np.float32)
            asked = Probes(self.store.floats(rows) if self.store.is_binary else rows, own)
        return measure(self.config, index, self.store, asked)


def _train(spec: IndexSpec, seed: int, threads: int, url: str, *pieces: np.ndarray) -> None:
    import faiss

    faiss.omp_set_num_threads(threads)
    empty = np.empty((0, spec.columns), np.uint8 if spec.binary else np.float32)
    sample = np.concatenate([empty, *pieces])
    write_index(train(spec, sample, seed), url)
