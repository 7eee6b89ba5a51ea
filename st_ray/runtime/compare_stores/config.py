"""The comparison's flags."""

from __future__ import annotations

from dataclasses import dataclass

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import LogConfig, require_at_least


@dataclass(frozen=True, kw_only=True)
class CompareStoresConfig(LogConfig):
    """Tell how far two versions of an embedding store are apart: which texts came and went, how far the embeddings of
    the others moved, whether they have the same neighbours, and what it takes to go over to a new model."""

    old: str
    """Embedding store that is in use, the output of jobs.encode, of any model and precision."""

    new: str
    """Embedding store to compare it with: a later version, or the same texts, or some of them, by another model."""

    output: str
    """Folder for the result: a local path or any fsspec URL such as s3://bucket/folder. A finished one is left as it
    is."""

    sample: int = 1000
    """Texts that both stores have, whose nearest neighbours in both are compared."""

    top_k: int = 10
    """Neighbours of each of them."""

    corpus_rows: int = 100_000
    """Texts that both stores have, among which these neighbours are, and whose movement is measured: a random sample
    where there are more. Memory holds their embeddings of both stores."""

    price_per_hour: float | None = None
    """What one actor costs an hour; adds what it costs to encode the old store's rows as the new one's were."""

    seed: int = 0
    """Of the samples."""

    overwrite: bool = False
    """Remove what an earlier run of this job left in --output and start again."""

    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        require_at_least(self, 1, "sample", "top_k")
        require_at_least(self, 2, "corpus_rows")
        require_at_least(self, 0, "seed")
        if self.price_per_hour is not None and self.price_per_hour < 0:
            raise ConfigError(f"--price-per-hour {self.price_per_hour:g} is negative", "give a price, or leave it out")
        for flag in ("old", "new"):
            if getattr(self, flag).rstrip("/") == self.output.rstrip("/"):
                raise ConfigError(f"--{flag} names the output itself", "write to a new --output")
