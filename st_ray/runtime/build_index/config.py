"""The index job's flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import JobConfig


@dataclass(frozen=True, kw_only=True)
class BuildIndexConfig(JobConfig):
    """Build a FAISS index over an embedding store, measure its recall, and find the setting that reaches a target."""

    embeddings: str
    """Embedding store: the output of jobs.encode."""

    actors: str = "auto"
    """Workers that fill parts at the same time: N, or MIN:MAX, of which MAX counts. auto: as many as CPUs and memory
    hold."""

    gpus_per_actor: float | None = None
    """GPUs of one worker, which finds the lists of vectors there. Unset: those of the cluster, shared by all workers,
    where faiss is installed for GPUs; 0 also trains on CPUs."""

    factory: str = "auto"
    """The index, as faiss.index_factory writes it: Flat, IVF4096,Flat, IVF4096,SQ8, OPQ64,IVF65536_HNSW32,PQ64,
    HNSW32, ...; for stores of bits BFlat and BIVF4096. auto chooses by rows, dimension and --memory-gib; with --refresh
    it is that of the old index, unless the number of rows decided for it and would not any more."""

    similarity: Literal["cosine", "dot", "euclidean"] | None = None
    """What the index is for. Unset: with --refresh, what the old one is for; else what the model names, else cosine.
    Bits are compared by their Hamming distance."""

    memory_gib: float | None = None
    """What the whole index may take in memory where it is searched, for --factory auto. Unset: half of the memory of
    the cluster's machines."""

    target_recall: float = 0.95
    """Share of the true nearest neighbours to find: nprobe or efSearch is raised until held-out queries reach it.
    0 leaves the measurement out."""

    recall_at: int = 10
    """Neighbours of a query by which recall is measured."""

    tune_rows: int = 1000
    """Rows of the store that are held out of the training and serve as queries for the measurement."""

    tune_queries: str | None = None
    """An embedding store of real queries to measure with, in place of rows of the corpus; its first --tune-rows."""

    merge: Literal["no", "memory", "disk"] = "no"
    """Keep the parts, each to be held by an actor of its own; or join them into one index.faiss, in the memory of one
    machine, or (IVF) on a disk, to be mapped into memory."""

    refresh: str | None = None
    """A finished index to take over from, with its training: rows whose text it has keep their codes, wherever they
    have moved to, and only the others are coded. This takes Flat, SQ or PQ codes, alone or in inverted lists; or a
    graph (HNSW), where rows were only added at the end. Else the index is built anew, and so it is where the embeddings
    that it was built from are gone or of another model, the recipe is another, more than 30 percent of the rows have
    changed since the training, or --target-recall is lost; the summary says why."""

    train_rows: int | None = None
    """Rows to train on, a seeded sample. Unset: as many as the centroids call for."""

    part_rows: int | None = None
    """Rows of a part, the unit of work, commit and retry. Unset: by the size of their codes, one million at most."""

    seed: int = 0
    """Of the samples and of the clustering."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a number that makes no sense."""
        for flag in ("recall_at", "tune_rows", "train_rows", "part_rows"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                name = "--" + flag.replace("_", "-")
                raise ConfigError(f"{name} {value} must be 1 or more", "give a positive number, or leave it out")
        if not 0.0 <= self.target_recall <= 1.0:
            raise ConfigError(f"--target-recall {self.target_recall:g} must be between 0 and 1", "0.95 is the default")
        if self.memory_gib is not None and self.memory_gib <= 0:
            raise ConfigError(f"--memory-gib {self.memory_gib:g} must be more than 0", "give a size, or leave it out")
        if self.refresh is not None and self.refresh.rstrip("/") == self.output.rstrip("/"):
            raise ConfigError("--refresh names the output itself", "write to a new --output")
