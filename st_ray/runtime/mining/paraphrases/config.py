"""The paraphrase job's flags."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import ModelConfig, ModelJobConfig, TextConfig, require_at_least

_OF_TEXTS = ("model", *(field.name for base in (TextConfig, ModelConfig) for field in fields(base)))
_OF_INDEXES = ("nprobe", "ef_search", "recall_rows", "seed")

_HIGHEST = {"cosine": 1.0, "euclidean": 0.0, "manhattan": 0.0}
"""Scores that no pair exceeds."""


@dataclass(frozen=True, kw_only=True)
class MineParaphrasesConfig(TextConfig, ModelJobConfig):
    """Find the pairs of rows that are most alike: of an embedding store, or of texts, which are encoded first. A pair
    counts if one of its two rows has the other among its best --top-k of all rows."""

    embeddings: str | None = None
    """Embedding store, the output of jobs.encode. With --index: where the store that it was built from lies now, if
    that has moved."""

    input: tuple[str, ...] = ()
    """In place of --embeddings, texts: files, folders or globs, as jobs.encode takes them. They are encoded into
    OUTPUT/embeddings."""

    model: str | None = None
    """Bi-encoder for --input, as for jobs.encode."""

    index: str | None = None
    """Output of jobs.build_index over the embeddings: each row asks it for its neighbours, so that time grows with the
    rows and not with their square. Pairs that it overlooks are missing; how many is measured. Unset: all rows are
    compared with all others."""

    actors: str = "auto"
    """Actors that compare blocks of rows, or hold the index: N, or MIN:MAX. auto: one a GPU; where there are none, as
    many as CPUs and memory hold."""

    top_k: int = 100
    """Other rows that a row can be paired with on its own account, the best of all."""

    max_pairs: int = 500_000
    """Pairs to keep, the best of all. Two rows make one pair, in whichever order. The smaller, the faster."""

    min_score: float | None = None
    """Leave out pairs that score less. Distances are negated: -0.5 asks for pairs at most 0.5 apart."""

    similarity: Literal["cosine", "dot", "euclidean", "manhattan"] | None = None
    """Unset: the index's; without an index, the one that the model names, else cosine."""

    keep_text: bool = False
    """Store the texts of both rows beside each pair; --embeddings must have been made with --keep-text."""

    nprobe: int | None = None
    """Lists of an IVF index that are looked into. Unset: what jobs.build_index found."""

    ef_search: int | None = None
    """Candidates that the search in an HNSW graph keeps. Unset: what jobs.build_index found."""

    recall_rows: int = 1000
    """With --index: rows whose true neighbours are searched exactly, to measure which share of the pairs was found."""

    seed: int = 0
    """Of the choice of these rows."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if self.input:
            self._check_texts()
        else:
            self._refuse(_OF_TEXTS, "it is for --input, which was not given")
            if self.embeddings is None and self.index is None:
                raise ConfigError("none of --embeddings, --index and --input was given", "name what to mine")
        if self.index is None:
            self._refuse(_OF_INDEXES, "it is for --index, which was not given")
        require_at_least(self, 1, "top_k", "max_pairs", "nprobe", "ef_search", "recall_rows")
        require_at_least(self, 0, "seed")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise ConfigError(f"--min-score {self.min_score:g} is not a finite number", "give one, or leave it out")
        if self.similarity is not None:
            self.check_min_score(self.similarity)
        self.check_model_flags()

    def check_min_score(self, similarity: str) -> None:
        """Raise ConfigError for a least score that no pair reaches."""
        highest = _HIGHEST.get(similarity, math.inf)
        if self.min_score is not None and self.min_score > highest:
            negated = "" if similarity == "cosine" else " (distances are negated)"
            raise ConfigError(
                f"--min-score {self.min_score:g}: no {similarity} is above {highest:g}{negated}", "lower it"
            )

    def _check_texts(self) -> None:
        self._refuse(("embeddings",), "--input names texts to encode")
        self._refuse(("index",), "--input names texts, which have no index yet")
        if self.model is None:
            raise ConfigError("--input names texts, but --model no model", "name the bi-encoder to encode them with")

    def _refuse(self, flags: tuple[str, ...], why: str) -> None:
        """Raise ConfigError for one of the flags that is not what it is by default."""
        defaults = {field.name: field.default for field in fields(self)}
        for flag in flags:
            if getattr(self, flag) != defaults[flag]:
                raise ConfigError(f"--{flag.replace('_', '-')}: {why}", "leave it out")
