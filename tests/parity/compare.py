"""The same texts through the peer and through st-ray, and how far apart the embeddings are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from st_ray.models.bi_encoder import BiEncoder


def peer_model(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def assert_same(folder: Path, texts: Sequence[str], **options: Any) -> float:
    """Encode with both, float32; the largest difference, after asserting that it is rounding."""
    expected = peer_model(folder).encode(list(texts), **options)
    found = BiEncoder(folder, device="cpu").encode(texts, **options)
    return assert_close(found, expected)


def assert_close(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    difference = float(np.abs(found - expected).max())
    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    cosine = np.divide((found * expected).sum(axis=-1), norms, out=np.ones_like(norms), where=norms > 0)
    assert difference <= 1e-5, f"largest difference {difference:.2e} in row {np.abs(found - expected).max(1).argmax()}"
    assert cosine.min() >= 0.999999, f"smallest cosine {cosine.min():.7f}"
    return difference
