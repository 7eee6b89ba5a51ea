"""Communities beside sentence-transformers, where neither a pair at the threshold nor a tie leaves it a choice."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import util as peer

import st_ray
from st_ray.models.bi_encoder import BiEncoder
from st_ray.runtime.mining.communities.job import detect_communities
from tests.conftest import DATA
from tests.inline_communities import communities_of, config_for, inline_job, table_of
from tests.stores import write_store


def clusters(rows: int, dimension: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, dimension))[rng.integers(0, 12, 40)] + rng.standard_normal((40, dimension))
    cluster = np.minimum(rng.geometric(0.1, rows) - 1, 39)  # of unequal sizes, the largest of about a tenth
    spread = rng.uniform(0.05, 1.5, (rows, 1))
    return (centres[cluster] + spread * rng.standard_normal((rows, dimension))).astype(np.float32)


def clear_of(threshold: float, embeddings: np.ndarray) -> float:
    """The threshold, or a greater one, with no cosine within 1e-6 of it."""
    unit = embeddings.astype(np.float64) / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    scores = np.sort((unit @ unit.T).ravel())
    scores = scores[scores > threshold - 1e-5]
    wide = np.flatnonzero(np.diff(scores) > 4e-6)
    return float((scores[wide[0]] + scores[wide[0] + 1]) / 2)


@pytest.mark.parametrize("least", [1, 2, 5, 10, 25])
@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.75, 0.85, 0.95])
def test_the_same_communities(threshold: float, least: int) -> None:
    embeddings = clusters(1200, 32, seed=7)
    threshold = clear_of(threshold, embeddings)
    found = st_ray.community_detection(embeddings, threshold, least)
    assert found == peer.community_detection(embeddings, threshold, least)
    assert found


def test_defaults_and_edges() -> None:
    embeddings = torch.from_numpy(clusters(500, 24, seed=8))
    expected = peer.community_detection(embeddings)
    assert expected
    assert st_ray.community_detection(embeddings) == expected
    for few in (embeddings[:0], embeddings[:9], embeddings[0]):
        assert st_ray.community_detection(few) == peer.community_detection(few) == []
    assert st_ray.community_detection(embeddings[0], 0.5, 1) == peer.community_detection(embeddings[0], 0.5, 1)


@pytest.fixture(scope="module")
def sentences(minilm: str) -> np.ndarray:
    """Of real texts, no two of them with the same embedding."""
    source = DATA / "stsb" / "dev.csv"
    if not source.exists():
        pytest.skip(f"{source} is absent")
    with source.open(encoding="utf-8", newline="") as file:
        texts = sorted({text for row in csv.reader(file) for text in row[:2]})
    embeddings = BiEncoder(minilm, device="cpu").encode(texts[:1500])
    _, first = np.unique(embeddings, axis=0, return_index=True)
    return embeddings[np.sort(first)]


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.75, 0.85, 0.95])
def test_the_job_on_real_texts(sentences: np.ndarray, tmp_path: Path, threshold: float) -> None:
    threshold = clear_of(threshold, sentences)
    store = write_store(tmp_path / "store", sentences, parts=4)
    unit = sentences / np.linalg.norm(sentences, axis=1, keepdims=True)
    for least in (1, 2, 3, 5, 10):
        with inline_job(group=400, held=300, share=600, centres=64):
            detect_communities(config_for(store, tmp_path / f"{least}", threshold=threshold, min_community_size=least))
        found = communities_of(table_of(tmp_path / f"{least}"))
        expected = peer.community_detection(sentences, threshold, least)
        assert [community[0] for community in found] == [community[0] for community in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert sorted(ours) == sorted(theirs)
            # Cosines that are equal but for rounding may stand in either order.
            scores = unit[theirs[1:]] @ unit[theirs[0]]
            assert np.abs(scores - unit[ours[1:]] @ unit[ours[0]]).max(initial=0) < 1e-6
        assert found or least > 2
