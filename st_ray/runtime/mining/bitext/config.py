"""The bitext job's flags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import JobConfig, require_at_least
from st_ray.runtime.resources import parse_actors

Margin = Literal["ratio", "distance", "absolute"]
Retrieval = Literal["max", "intersection", "forward", "backward"]


@dataclass(frozen=True, kw_only=True)
class MineBitextConfig(JobConfig):
    """Find the texts of two collections, say in two languages, that are translations of each other: pairs whose cosine
    stands out among those of their nearest neighbours."""

    source: str
    """Embedding store of one collection, the output of jobs.encode: float32, float16, int8 or uint8."""

    target: str
    """Embedding store of the other collection, by the same model."""

    neighbors: int = 4
    """Nearest texts of the other side, in exact search, that a pair is compared with; all of a side that has fewer."""

    margin: Margin = "ratio"
    """Score of a pair. ratio: its cosine, divided by the mean of those of its neighbours: 1 is nothing special.
    distance: the same, subtracted: 0 is nothing special. absolute: the cosine alone."""

    retrieval: Retrieval = "max"
    """Which pairs. forward: the best target of each source. backward: the best source of each target. intersection:
    pairs that are in both. max: all of both, best first, each taken unless its source or its target is in a pair
    already, so that no text is in two pairs."""

    threshold: float | None = None
    """The least margin of a pair. Unset: any. What separates translations from noise depends on model and texts: look
    at the report of a run without it. Pairs come best first, so that any later threshold only cuts off their end."""

    keep_text: bool = False
    """Write the texts beside the ids; both stores must have been made with --keep-text."""

    shard_rows: int = 10_000
    """Texts of a shard, the unit of work, commit and retry; and pairs of a part. Which pairs are found does not depend
    on it."""

    keep_gib: float | None = None
    """Memory of an actor for rows of the side that is searched, which are read anew for every shard otherwise. Unset: a
    quarter of the machine's, shared by its actors."""

    actors: str = "auto"
    """Actors that share the side that is searched: N, or MIN:MAX. auto: one a GPU; else as many as CPUs and memory
    hold, and no more than there is work for."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        require_at_least(self, 1, "neighbors", "shard_rows")
        require_at_least(self, 0, "keep_gib")
        parse_actors(self.actors)
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ConfigError(f"--threshold {self.threshold:g} is no margin", "give a number, or leave it out")
