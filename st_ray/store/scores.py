"""Scores of labelled pairs: their Parquet parts, and how evaluators read them.

row       int64: the pair's row in the data; or, one behind another, that of the query with its documents
id        string or int64, where the data has ids
document  int32: which document of its query, where the data are queries with documents
label     int64 (classes; 1 for a relevant document) or float64 (gold scores)
score     float32; or
scores    fixed_size_list<float32>: one a class
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import ConfigError, InputError
from st_ray.store import fs
from st_ray.store.embeddings import embedding_array, embedding_column, parquet_bytes
from st_ray.store.manifest import Manifest, content_digest, read_manifest_of
from st_ray.store.readers.files import reading

KIND = "scores of pairs"
SCORES_PER_PAIR = "scores_per_pair"
"""Figure of a part."""
_SCORE, _SCORES = "score", "scores"


def scores_part(columns: dict[str, pa.Array], scores: np.ndarray) -> bytes:
    """A part: `columns` (row, id, document, label, as far as there are), and the scores `[n, c]` float32."""
    if scores.shape[1] == 1:
        return parquet_bytes(pa.table({**columns, _SCORE: pa.array(np.ascontiguousarray(scores[:, 0]))}))
    return parquet_bytes(pa.table({**columns, _SCORES: embedding_column(scores)}))


def similarities_part(columns: dict[str, pa.Array]) -> bytes:
    """A part of similarities: all of its columns."""
    return parquet_bytes(pa.table(columns))


@dataclass(frozen=True)
class ScoresPart:
    """Where a part lies, and how many rows it has.

    Attributes:
        column: what is read as the scores; None: whichever of score and scores there is.
    """

    url: str
    rows: int
    column: str | None = None

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows `[n]`, labels `[n]` and scores `[n]` or `[n, c]`. InputError where it is missing or damaged."""
        with reading(self.url):
            file = pq.ParquetFile(io.BytesIO(fs.read_bytes(self.url)))
            name = self.column or (_SCORE if _SCORE in file.schema_arrow.names else _SCORES)
            table = file.read(columns=["row", "label", name])
        if len(table) != self.rows:
            raise InputError(f"{self.url} has {len(table)} rows, where {self.rows} were written", "score them again")
        scores = embedding_array(table[name]) if name == _SCORES else table[name].to_numpy()
        return table["row"].to_numpy(), table["label"].to_numpy(), scores


@dataclass(frozen=True)
class ScoreStore:
    """A finished output of scores.

    Attributes:
        parts: in the order of the data.
        about: what was scored, and by what.
        digest: of the parts' content.
    """

    folder: str
    parts: Sequence[ScoresPart]
    manifest: Manifest
    digest: str

    @classmethod
    def of(cls, folder: str, manifest: Manifest) -> ScoreStore:
        """The store in `folder`, whose manifest is known."""
        parts = tuple(ScoresPart(fs.join(folder, "data", entry.name), entry.rows) for entry in manifest.entries)
        digest = content_digest("".join(entry.digest for entry in manifest.entries).encode())
        return cls(folder, parts, manifest, digest)

    def parts_of(self, column: str) -> list[ScoresPart]:
        """The parts with another column as the scores."""
        return [dataclasses.replace(part, column=column) for part in self.parts]

    @classmethod
    def open(cls, folder: str) -> ScoreStore:
        """The store in `folder`. Raises InputError where there is none, or it holds something else."""
        return cls.of(folder, read_manifest_of(folder, KIND, "name the folder `scores` of an evaluation"))

    def require(self, evaluator: str, *, labels: str, several: bool, samples: bool) -> None:
        """Raise ConfigError where these are not the scores that an evaluator needs.

        Args:
            labels: binary, class or number.
            several: whether it needs a score a class.
            samples: whether it needs queries with documents.
        """
        about = self.manifest.about
        if samples and not about["documents"]:
            raise ConfigError(
                f"{self.folder} holds scores of single pairs; --evaluator {evaluator} ranks documents of queries",
                "evaluate queries with positives and negatives",
            )
        scores = int(self.manifest.entries[0].figures[SCORES_PER_PAIR])
        several_here = scores > 1
        if several != several_here:
            needed = "one score for each class" if several else "one score a pair"
            raise ConfigError(
                f"{self.folder} has {scores} score{'s' * several_here} a pair; --evaluator {evaluator} needs {needed}",
                "choose another --evaluator or another model",
            )
        if labels != "number" and about["labels"] == "number":
            raise ConfigError(
                f"{self.folder} has gold scores as labels, and --evaluator {evaluator} needs classes",
                "score the pairs again with labels that are classes",
            )
