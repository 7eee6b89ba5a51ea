"""Drift between two stores: what moved, whether neighbours are the same, and what a change of the model takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.scoring.similarity import similarity_of
from st_ray.search.drift import Drift, DriftSettings, drift
from st_ray.search.movement import moved, movement_of
from st_ray.search.overlap import neighbours, overlap_of
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.switch import switch_of
from tests.stores import vectors, write_store

ROWS = 300
SETTINGS = DriftSettings(sample=100)


def rotated(embeddings: np.ndarray, angle: float = 0.3) -> np.ndarray:
    """The same in a space that is turned a little: each pair of dimensions by `angle`."""
    half = embeddings.shape[1] // 2
    one, other = embeddings[:, :half].astype(np.float64), embeddings[:, half:].astype(np.float64)
    turned = [np.cos(angle) * one - np.sin(angle) * other, np.sin(angle) * one + np.cos(angle) * other]
    return np.concatenate(turned, axis=1).astype(np.float32)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "binary", "ubinary"])
def test_a_store_and_itself_in_another_order_are_not_apart(precision: str, tmp_path: Path) -> None:
    embeddings = vectors(ROWS)
    order = np.random.default_rng(3).permutation(ROWS)
    texts = [f"text {row}" for row in range(ROWS)]
    old = write_store(tmp_path / "old", embeddings, precision=precision, texts=texts)
    new = write_store(
        tmp_path / "new", embeddings[order], parts=2, precision=precision, texts=[texts[row] for row in order]
    )
    found = drift(old, new, SETTINGS)
    assert (found.unchanged, found.added, found.gone, found.texts) == (ROWS, 0, 0, ROWS)
    movement, overlap = found.movement, found.overlap
    assert movement is not None and overlap is not None
    assert (movement.identical, movement.max_difference, movement.mean) == (ROWS, 0.0, 1.0)
    assert set(movement.percentiles.values()) == {1.0} and movement.counts[-1] == ROWS == sum(movement.counts)
    assert (overlap.mean, overlap.nearest, overlap.queries, overlap.corpus, overlap.top_k) == (1.0, 1.0, 100, ROWS, 10)
    assert overlap.counts == (0,) * 10 + (100,)
    assert (found.furthest, found.unmoved, found.switch.rows) == ((), "", 0)
    assert ("signs" in found.compared_as) == ("binary" in precision)
    assert found.similarities == (("hamming",) * 2 if "binary" in precision else ("cosine",) * 2)


def test_a_turned_space_has_moved_and_has_the_same_neighbours(tmp_path: Path) -> None:
    embeddings = vectors(ROWS)
    old = write_store(tmp_path / "old", embeddings)
    found = drift(old, write_store(tmp_path / "new", rotated(embeddings)), SETTINGS)
    assert found.movement is not None and found.overlap is not None
    assert found.movement.identical == 0
    # In two halves of the dimensions turned against each other, each vector turns by the same angle.
    assert found.movement.mean == pytest.approx(np.cos(0.3), abs=1e-6)
    assert (found.overlap.mean, found.overlap.nearest) == (1.0, 1.0)
    assert len(found.furthest) == 10 and found.furthest[0][1] == found.movement.percentiles["min"]


def test_what_moved_came_and_went_is_found(tmp_path: Path) -> None:
    embeddings = vectors(ROWS)
    changed = embeddings.copy()
    changed[7] *= -1
    changed[8] += 0.25
    old = write_store(tmp_path / "old", embeddings, texts=[f"text {row}" for row in range(ROWS)])
    texts = [f"text {row}" if row < 290 else f"new {row}" for row in range(ROWS)]
    new = write_store(tmp_path / "new", changed, texts=texts, shard_rows=5, prompt="query: ")
    found = drift(old, new, SETTINGS)
    assert (found.unchanged, found.added, found.gone) == (290, 10, 10)
    movement = found.movement
    assert movement is not None
    assert (movement.texts, movement.identical) == (290, 288)
    assert movement.percentiles["min"] == pytest.approx(-1.0)
    assert movement.max_difference == np.abs(changed - embeddings).max()
    assert [id for id, _ in found.furthest] == ["d7", "d8"]
    assert found.differences == ("prompt: absent before, 'query: ' now", "shard_rows: absent before, 5 now")
    # What shows in no embedding asks for no new ones; a prompt does.
    assert found.switch.because == ("prompt: absent before, 'query: ' now",)
    assert found.switch.rows == ROWS


def test_movement_between_models_is_not_defined_and_their_neighbours_are(tmp_path: Path) -> None:
    embeddings = vectors(ROWS)
    wider = np.concatenate([embeddings, embeddings], axis=1)
    old = write_store(tmp_path / "old", embeddings, model="a", similarity="dot")
    cases = {
        "the stores are of different models": write_store(tmp_path / "new", wider, model="b", similarity="dot"),
        "the stores have 16 and 32 dimensions": write_store(tmp_path / "wide", wider, model="a", similarity="cosine"),
    }
    for why, new in cases.items():
        found = drift(old, new, SETTINGS)
        assert (found.movement, found.unmoved, found.furthest) == (None, why, ())
        assert found.overlap is not None
        # Twice the vector has the same neighbours by dot product, not by cosine.
        assert (found.overlap.mean == 1.0) == (found.similarities == ("dot", "dot"))


def test_of_large_stores_some_parts_are_looked_at(tmp_path: Path) -> None:
    embeddings = vectors(ROWS)
    old = write_store(tmp_path / "old", embeddings, parts=10)
    new = write_store(tmp_path / "new", embeddings + 1, parts=11, texts=[str(row - 1) for row in range(ROWS)])
    whole = drift(old, new, SETTINGS, most_rows=ROWS)
    assert whole == drift(old, new, SETTINGS)
    read = {0, 4, 9}
    for folder in (old, new):
        for number, part in enumerate(sorted(Path(folder, "data").iterdir())):
            if number not in read:
                part.unlink()
    found = drift(old, new, SETTINGS, most_rows=100)
    assert (found.old_rows, found.new_rows) == (90, 81)
    assert found.movement is not None and found.movement.texts == found.texts == 42


def test_stores_with_little_or_nothing_in_common(tmp_path: Path) -> None:
    old = write_store(tmp_path / "old", vectors(5), texts=list("abcde"))
    cases: list[tuple[list[str], int, bool, int | None]] = [
        (list("vwxyz"), 0, False, None),
        (list("vwxye"), 1, True, None),
        (list("vwxde"), 2, True, 1),
        ([], 0, False, None),
    ]
    for number, (texts, shared, measured, top_k) in enumerate(cases):
        new = write_store(tmp_path / f"new{number}", vectors(len(texts), 16), texts=texts)
        found = drift(old, new, SETTINGS)
        assert (found.unchanged, found.movement is not None) == (shared, measured)
        assert (found.overlap and found.overlap.top_k) == top_k
        assert ("no text in common" in found.unmoved) != measured
        json.dumps(found.to_json())


def test_precisions_are_compared_as_what_they_stand_for(tmp_path: Path) -> None:
    embeddings = vectors(ROWS)
    floats = write_store(tmp_path / "float32", embeddings)
    for precision, least in (("float16", 0.9999), ("int8", 0.999), ("binary", 1.0)):
        found = drift(floats, write_store(tmp_path / precision, embeddings, precision=precision), SETTINGS)
        assert found.movement is not None and found.movement.percentiles["min"] >= least
        assert precision in found.compared_as


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 60),
    st.integers(1, 70),
    st.integers(1, 12),
    st.sampled_from(["cosine", "dot", "euclidean", "manhattan"]),
    st.integers(0, 5),
)
def test_neighbours_are_those_of_brute_force(rows: int, queries: int, k: int, name: str, seed: int) -> None:
    queries, k = min(queries, rows), min(k, rows - 1)
    # Small whole numbers: many equal rows and ties, and sums without rounding.
    embeddings = np.random.default_rng(seed).integers(-2, 3, (rows, 3)).astype(np.float32)
    similarity = similarity_of(name)
    found = neighbours(embeddings, lambda some: some, similarity, queries, k)
    scores = similarity.score(embeddings[:queries], embeddings).double().numpy()
    assert found.shape == (queries, k)
    for query in range(queries):
        own = found[query].tolist()
        assert query not in own and len(set(own)) == k
        others = [row for row in range(rows) if row != query]
        best = sorted((scores[query][row] for row in others), reverse=True)[:k]
        np.testing.assert_allclose([scores[query][row] for row in own], best, atol=1e-4)


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 100))
def test_overlap_is_that_of_sets(queries: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (np.stack([rng.permutation(12)[:k] for _ in range(queries)]) for _ in range(2))
    found = overlap_of(one, other, 12)
    shared = [len(set(first) & set(second)) for first, second in zip(one.tolist(), other.tolist(), strict=True)]
    assert found.mean == pytest.approx(sum(shared) / (queries * k))
    assert list(found.counts) == [shared.count(number) for number in range(k + 1)]
    assert overlap_of(one, one, 12).mean == overlap_of(one, one, 12).nearest == 1.0


def test_cosines_of_blocks_are_those_of_the_whole() -> None:
    before, now = vectors(50, seed=1), vectors(50, seed=2)
    now[5] = before[5] = 0.0
    now[6] = before[6]
    whole = moved([(before, now)])
    for part, other in zip(whole, moved([(before[:20], now[:20]), (before[20:], now[20:])]), strict=True):
        np.testing.assert_array_equal(part, other)
    found = movement_of(*whole)
    assert (found.texts, found.identical, sum(found.counts)) == (50, 2, 50)
    assert whole[0][5] == whole[0][6] == 1.0


def made(rows: int, run: dict[str, Any] | None = None, model: str = "a", **figures: float) -> Manifest:
    entry = ShardEntry("part-00000.parquet", rows, 0, 1, "", figures=figures)
    return Manifest("embeddings", {"model": model, "input": str(rows), "shard_rows": rows}, (entry,), run=run or {})


def test_what_a_new_model_takes() -> None:
    old = made(1_000_000, tokens=1.0)
    run = {"tokens": 9000, "rows": 900, "rows_per_second_after_first_commit": 100.0, "seconds": 30.0, "actors": 4}
    # 900 texts encoded of 10 tokens each; 100 rows more were the same as others or taken from an older store.
    found = switch_of(old, made(1000, run, "b", tokens=9000, reused=60, repeated=40), price_per_hour=2.0)
    assert found.because == ("model: 'a' before, 'b' now",)
    assert (found.rows, found.tokens, found.tokens_per_second) == (1_000_000, 10_000_000, 1000.0)
    assert found.hours == pytest.approx(10_000 / 3600)
    assert found.price == pytest.approx(10_000 / 3600 * 4 * 2.0)
    slower = switch_of(old, made(900, run | {"rows_per_second_after_first_commit": 0.0}, "b", tokens=9000))
    assert slower.tokens_per_second == 300.0 and slower.price is None
    # A store that says nothing of its making, and one that is made in the same way.
    unknown = switch_of(old, made(1000, {}, "b"), price_per_hour=2.0)
    assert (unknown.rows, unknown.tokens, unknown.hours, unknown.price) == (1_000_000, None, None, None)
    same = switch_of(old, made(1000, run, tokens=9000), price_per_hour=2.0)
    assert (same.because, same.rows, same.hours, same.price) == ((), 0, 0.0, 0.0)


def test_the_sample_bounds_what_is_looked_at(tmp_path: Path) -> None:
    old, new = (write_store(tmp_path / name, vectors(ROWS)) for name in ("old", "new"))

    def seen(seed: int) -> Drift:
        return drift(old, new, DriftSettings(sample=500, corpus_rows=40, top_k=50, seed=seed))

    found = seen(1)
    assert found.movement is not None and found.overlap is not None
    assert (found.texts, found.movement.texts) == (ROWS, 40)
    assert (found.overlap.queries, found.overlap.corpus, found.overlap.top_k) == (40, 40, 39)
    assert seen(1) == found
