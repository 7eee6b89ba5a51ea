"""The community job's flags."""

from __future__ import annotations

from dataclasses import dataclass

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import JobConfig, require_at_least
from st_ray.runtime.resources import parse_actors


@dataclass(frozen=True, kw_only=True)
class DetectCommunitiesConfig(JobConfig):
    """Find groups of alike rows in an embedding store, each around a centre that all of its rows are near to."""

    embeddings: str
    """Embedding store, the output of jobs.encode, of any precision but bits."""

    threshold: float = 0.75
    """Cosine to the centre, from -1 to 1, that a row needs to belong to a community. Of several centres that it is near
    to, it goes to the one with the most neighbours."""

    min_community_size: int = 10
    """Rows that a community has at least, its centre included."""

    keep_text: bool = False
    """Write the text of each row beside it; the embedding store must have been made with --keep-text too."""

    actors: str = "auto"
    """Actors that compare the rows: N, or MIN:MAX. auto: one a GPU; where there are none, as many as CPUs and memory
    hold. They first count neighbours, block by block, and then keep the rows in memory, shared out, as far as a
    quarter of the machine's holds them; the others are read anew for each question."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if not -1 <= self.threshold <= 1:
            raise ConfigError(f"--threshold {self.threshold:g} is not a cosine", "give a number from -1 to 1")
        require_at_least(self, 1, "min_community_size")
        parse_actors(self.actors)
