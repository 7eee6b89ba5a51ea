"""The reembed job's flags."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.config import JobConfig
from st_ray.runtime.encode.config import EncodeConfig

NO_INDEX = "none"
LEAST_KEPT = 2
_OF_INDEX = ("similarity", "memory_gib", "target_recall", "recall_at", "tune_queries", "merge", "seed")


@dataclass(frozen=True, kw_only=True)
class ReembedConfig(EncodeConfig):
    """Embed and index a corpus that changes, every night say: each run makes a new version out of the one before, for
    the price of what has changed."""

    output: str
    """Folder of the versions, OUTPUT/v-20261122T080906Z/embeddings and .../index, and of OUTPUT/latest, a file that
    names one of them: any job that reads embeddings or an index takes OUTPUT/latest/embeddings or OUTPUT/latest/index,
    and keeps to the version that it began with. A local path or any fsspec URL. A run that was cut short goes on where
    it stopped."""

    index: str = "auto"
    """The index of a version, as --factory of jobs.build_index: auto, or what faiss.index_factory takes. none: there
    is none."""

    similarity: Literal["cosine", "dot", "euclidean"] | None = None
    """What the index is for. Unset: what the model names, else cosine."""

    memory_gib: float | None = None
    """What the whole index may take in memory, for --index auto. Unset: half of the memory of the cluster's
    machines."""

    target_recall: float = 0.95
    """Share of the true nearest neighbours that the index is to find, measured in every run. 0 leaves that out."""

    recall_at: int = 10
    """Neighbours of a query by which recall is measured."""

    tune_queries: str | None = None
    """An embedding store of real queries to measure with, in place of rows of the corpus."""

    merge: Literal["no", "memory", "disk"] = "no"
    """Keep the parts of the index, or join them into one file, as for jobs.build_index."""

    keep: int = 3
    """Versions that are kept, the new one among them; older ones are removed once it is the latest. Two at least, so
    that a search goes on that began with the version before."""

    if_changed: bool = False
    """Do nothing, with success, where the files of the input (by sizes and stamps) and the settings are those of the
    latest version."""

    reuse: str | None = None
    """A finished embedding store to take rows from where no version has any that fit, as for the first one."""

    plan: bool = False
    """Only look: what would be taken over from the latest version and what encoded, and how long that would take, by a
    measurement of some seconds on the hardware at hand. Nothing is written."""

    overwrite: bool = False
    """Take nothing over: encode and index everything again, in a new version."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a flag that makes no sense."""
        super().__post_init__()
        if self.keep < LEAST_KEPT:
            raise ConfigError(
                f"--keep {self.keep} must be {LEAST_KEPT} or more",
                "give two at least, so that a search which began with the version before keeps it",
            )
        if self.index != NO_INDEX:
            self.build_index_config("", "", None)

    def encode_config(self, output: str, reuse: str | None) -> EncodeConfig:
        """For the embeddings of a version."""
        flags = {field.name: getattr(self, field.name) for field in fields(EncodeConfig)}
        return EncodeConfig(**flags | {"output": output, "reuse": reuse, "overwrite": False})

    def build_index_config(self, embeddings: str, output: str, refresh: str | None) -> BuildIndexConfig:
        """For the index of a version."""
        flags = {name: getattr(self, name) for name in (*(field.name for field in fields(JobConfig)), *_OF_INDEX)}
        places = {"embeddings": embeddings, "output": output, "refresh": refresh}
        return BuildIndexConfig(**flags | places | {"factory": self.index, "overwrite": False})

    def index_settings(self) -> dict[str, Any]:
        """What of the flags decides how a version's index is made."""
        if self.index == NO_INDEX:
            return {"index": NO_INDEX}
        return {"index": self.index, **{name: getattr(self, name) for name in _OF_INDEX}}
