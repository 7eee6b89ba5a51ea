"""The fusion job's flags."""

from __future__ import annotations

import math
from dataclasses import dataclass

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import JobConfig, require_at_least
from st_ray.runtime.resources import parse_actors
from st_ray.search.fusion import Fusion, FusionMethod, Normalization
from st_ray.store.hits import HitsFormat


@dataclass(frozen=True, kw_only=True)
class FuseConfig(JobConfig):
    """Fuse the hits of several searches for the same queries into one ranking a query."""

    hits: tuple[str, ...]
    """Two or more: folders that jobs wrote hits to, or files of hits by any tool: TREC runs (any name), or Parquet or
    JSON lines with the columns query_id, corpus_id, rank, score. Ids that are strings in one are strings in the result.
    A file is read into memory whole, a folder part by part."""

    method: FusionMethod = "rrf"
    """rrf: reciprocal-rank fusion, the sum of weight / (k + rank) over the sets that have the document. weighted: the
    sum of weight x score. Equal sums are ranked by the better best single rank, then by the smaller id."""

    weights: tuple[float, ...] | None = None
    """One for each of --hits, in their order. Unset: 1 each."""

    rrf_k: int = 60
    """The k of rrf: the larger, the less the first ranks stand out."""

    normalize: Normalization = "min-max"
    """What weighted makes of a query's scores in a set first. min-max: the best becomes 1 and the worst 0; all become 1
    where all are the same. none: nothing; the scores must be of one scale, on which 0 is worse than any hit, since a
    document counts as 0 in a set without it."""

    top_k: int | None = None
    """Hits to keep for each query. Unset: every document that a set has."""

    format: HitsFormat = "parquet"
    """Of the hits: Parquet, a TREC run, or JSON lines."""

    actors: str = "auto"
    """Tasks at once. auto: about one a CPU, or fewer where memory holds no more."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if len(self.hits) < 2:
            raise ConfigError(f"--hits names {len(self.hits)} set of hits", "name two or more")
        require_at_least(self, 1, "top_k")
        require_at_least(self, 0, "rrf_k")
        parse_actors(self.actors)
        if self.method == "rrf" and self.normalize != FuseConfig.normalize:
            raise ConfigError("--normalize is for --method weighted: rrf looks at ranks alone", "leave it out")
        if self.method == "weighted" and self.rrf_k != FuseConfig.rrf_k:
            raise ConfigError("--rrf-k is for --method rrf: weighted looks at scores alone", "leave it out")
        if self.weights is not None:
            self._check_weights(self.weights)

    def _check_weights(self, weights: tuple[float, ...]) -> None:
        if len(weights) != len(self.hits):
            raise ConfigError(
                f"--weights gives {len(weights)} for {len(self.hits)} sets of hits", "give one for each of --hits"
            )
        odd = next((weight for weight in weights if not 0 < weight < math.inf), None)
        if odd is not None:
            raise ConfigError(f"--weights {odd:g} must be more than 0", "give such a number, or leave the set out")

    def fusion(self) -> Fusion:
        """What these flags ask for."""
        return Fusion(
            method=self.method,
            weights=self.weights or (1.0,) * len(self.hits),
            rrf_k=self.rrf_k,
            normalize=self.normalize,
            top_k=self.top_k,
        )
