"""The encode job's flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import ModelJobConfig, TextConfig, require_at_least


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(TextConfig, ModelJobConfig):
    """Embed every text of a corpus with a bi-encoder, into a folder of Parquet shards."""

    input: tuple[str, ...]
    """Files, folders or globs, local or s3:// (any fsspec URL): Parquet, JSONL, CSV/TSV, plain text (one text a line;
    these three also .gz and .zst), a folder saved by `datasets`, or a BEIR folder. Read in the order given."""

    model: str
    """Bi-encoder: a folder as Sentence Transformers writes it, a plain transformers folder (mean pooling), a hub id,
    an s3:// folder, or package:NAME for a model inside an installed Python package."""

    min_cosine: float | None = None
    """Every actor measures its embeddings of a sample of the corpus by their cosine to those in float32, unless it
    computes in float32; below this it stops before anything is committed. Unset: 0.999; 0.95 with --file-name."""

    precision: Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"] = "float32"
    """What is stored: floats, int8 or uint8 steps between the least and the greatest value that a sample has in each
    dimension, or bits, eight dimensions a byte."""

    normalize: bool = False
    """Scale every embedding to length 1 (models that end in a Normalize module do so anyway)."""

    truncate_dim: int | None = None
    """Keep the first so many dimensions (Matryoshka models)."""

    shard_rows: int = 50_000
    """Rows of a shard, the unit of work, commit and retry. Memory grows with it; a second of work or more is good."""

    keep_text: bool = False
    """Store the texts beside their embeddings."""

    reuse: str | None = None
    """A finished embedding store of the same model and settings: rows whose text is in it, anywhere, take their
    embedding from there. backend and dtype, where they are auto, are its own."""

    plan: bool = False
    """Only look: scan the input, sample its tokens, measure the model for some seconds on the hardware at hand, and
    tell how long --actors of it would take. Nothing is written."""

    price_per_hour: float | None = None
    """With --plan: what one actor costs an hour (its machine's price over its actors); adds the cost of the run."""

    seed: int = 0
    """Of the sample of the corpus that --min-cosine and the ranges of int8 and uint8 are measured on."""

    check_ids: bool = True
    """Look for duplicate ids before encoding: ids are hashed to 16 bytes while the files are scanned and compared
    exactly, about a second and 50 MB for each million rows. --no-check-ids leaves it out."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a number that makes no sense."""
        if not self.input:
            raise ConfigError("--input names no file", "give at least one file, folder or glob")
        require_at_least(self, 1, "shard_rows", "truncate_dim")
        self.check_model_flags()
        if self.price_per_hour is not None and self.price_per_hour < 0:
            raise ConfigError(f"--price-per-hour {self.price_per_hour:g} is negative", "give a price, or leave it out")
        if self.reuse is not None and self.reuse.rstrip("/") == self.output.rstrip("/"):
            raise ConfigError("--reuse names the output itself", "write to a new --output")
