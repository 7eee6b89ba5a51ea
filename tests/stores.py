"""Embedding stores of given vectors, without a model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.scoring.quantization import quantization_ranges, quantize_embeddings
from st_ray.store.embeddings import KIND, part_bytes, text_digests
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part, part_name


def vectors(rows: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    """Some clusters, float32 `[rows, dimension]`."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((12, dimension))
    return (centres[rng.integers(0, 12, rows)] + 0.5 * rng.standard_normal((rows, dimension))).astype(np.float32)


def write_store(
    folder: Path | str,
    embeddings: np.ndarray,
    *,
    parts: int = 3,
    precision: str = "float32",
    prefix: str = "d",
    similarity: str | None = None,
    texts: Sequence[str] | None = None,
    **lineage: Any,
) -> str:
    """A finished store of `embeddings` with ids such as `d7`; row 7's text is `7` unless `texts` says otherwise."""
    texts = [str(row) for row in range(len(embeddings))] if texts is None else texts
    ranges = quantization_ranges(embeddings) if precision in ("int8", "uint8") else None
    stored = np.asarray(quantize_embeddings(embeddings, precision, ranges=ranges))
    made_by = {"precision": precision, "keep_text": False, **lineage}
    output = OutputFolder(str(folder), KIND)
    writer = output.begin(made_by)
    bounds = np.linspace(0, len(embeddings), parts + 1).astype(int).tolist()
    entries = []
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        meta = pa.table(
            {
                "id": [f"{prefix}{row}" for row in range(first, last)],
                "row": pa.array(range(first, last), pa.int64()),
                "text_digest": text_digests(texts[first:last]),
            }
        )
        data = part_bytes(meta, stored[first:last])
        entries.append(writer.commit(part_name(number, parts), Part(data, last - first, first)))
    about = {
        "dimension": embeddings.shape[1],
        "ranges": ranges.tolist() if ranges is not None else None,
        "similarity": similarity,
        "model": "stub",
    }
    output.finish(Manifest(KIND, made_by, tuple(entries), about))
    return str(folder)
