"""The flags of the job that scores pairs of texts."""

from __future__ import annotations

from dataclasses import dataclass

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import NO_NAMES, DataJobConfig, Names
from st_ray.runtime.cross_encoding.config import CrossEncoderConfig


@dataclass(frozen=True, kw_only=True)
class ScorePairsConfig(DataJobConfig, CrossEncoderConfig):
    """Score pairs of texts with a cross-encoder; texts and scores are what jobs.train_cross_encoder distils from."""

    data: tuple[str, ...]
    """Files, folders or globs of pairs, of tuples (a query, a positive, negatives), or of queries with lists of
    documents: Parquet, JSON lines, CSV or TSV, .gz and .zst too. Labels need not be there and are not read."""

    cross_encoder: str
    """A sequence classification model: a folder as Sentence Transformers or transformers writes it, a hub id, an s3://
    folder, or package:NAME. Tuples and lists need one with one label."""

    text_columns: Names = NO_NAMES
    """The columns (a,b) that hold the texts: two of pairs; query, positive and negatives of tuples; query and documents
    of lists. Unset: by the names that mine_hard_negatives gives, else the two columns of texts."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        self.check_data_flags()
        self.check_cross_encoder_flags()
        if not self.data:
            raise ConfigError("--data names no file", "give at least one file, folder or glob")
