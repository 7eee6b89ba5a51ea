"""Exact search over a store of several parts and row groups, in ranges and with any memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from st_ray.core.errors import InputError
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.topk import PADDING, TopK
from st_ray.scoring.vectors import StoredVectors
from st_ray.search import exact
from st_ray.search.comparable import check_comparable
from st_ray.search.exact import ExactSearcher
from st_ray.search.rescoring import Rescorer
from st_ray.store import embeddings
from tests.stores import vectors, write_store

CORPUS = vectors(100, 12)
QUERIES = vectors(6, 12, seed=1)
COSINE = similarity_of("cosine")


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "ROW_GROUP_ROWS", 7)
    monkeypatch.setattr(exact, "BLOCK_ROWS", 16)
    monkeypatch.setattr(exact, "_BLOCK_OF_FEW", 16)


def opened(folder: Path, precision: str = "float32", parts: int = 4) -> StoredVectors:
    return StoredVectors.open(write_store(folder / "store", CORPUS, precision=precision, parts=parts))


@pytest.mark.parametrize("keep_bytes", [0, 1000, 1 << 20])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "ubinary", "binary"])
def test_ranges_merge_to_the_whole(precision: str, keep_bytes: int, tmp_path: Path) -> None:
    store = opened(tmp_path, precision)
    whole = ExactSearcher(store, 0, 100, COSINE).search(QUERIES, 9)
    best = TopK(len(QUERIES), 9)
    seen: list[int] = []
    for first, last in ((50, 100), (0, 3), (3, 50), (50, 50)):
        searcher = ExactSearcher(store, first, last, COSINE, keep_bytes=keep_bytes, on_rows=seen.append)
        searcher.search(QUERIES[:1], 2)
        best.merge(*searcher.search(QUERIES, 9))
    assert sum(seen) == 200
    for one, other in zip(whole, best.padded(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bits_by_their_distance_ties_by_position(tmp_path: Path) -> None:
    store = opened(tmp_path, "ubinary")
    scores, positions = ExactSearcher(store, 0, 100, COSINE).search(QUERIES, 30)
    bits, asked = CORPUS > 0, QUERIES > 0
    distances = (bits[None] != asked[:, None]).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :30]
    np.testing.assert_array_equal(positions, order)
    np.testing.assert_array_equal(-scores, np.take_along_axis(distances, order, axis=1))


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (tmp_path / "store" / "data" / "part-00001.parquet").write_bytes(b"torn")
    ExactSearcher(store, 0, 20, COSINE).search(QUERIES, 3)  # the other parts are not looked at
    with pytest.raises(InputError, match=r"part-00001\.parquet"):
        ExactSearcher(store, 20, 40, COSINE).search(QUERIES, 3)


def test_rows_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = CORPUS.copy()
    broken[60] = np.nan
    store = StoredVectors.open(write_store(tmp_path / "broken", broken))
    with pytest.raises(InputError, match=r"broken, rows \d+ to \d+: a score is not a number"):
        ExactSearcher(store, 0, 100, COSINE).search(QUERIES, 3)


@pytest.mark.parametrize("precision", ["float32", "float16", "uint8", "binary"])
def test_rescoring(precision: str, tmp_path: Path) -> None:
    store = opened(tmp_path, precision)
    positions = np.array([[3, 99, PADDING], [50, 0, 7]])
    floats = store.floats(store.take(np.arange(100)))
    if precision == "binary":
        np.testing.assert_array_equal(floats, CORPUS > 0)
        expected = np.einsum("qd,qmd->qm", QUERIES[:2], floats[positions])
    else:
        unit = [side / np.linalg.norm(side, axis=-1, keepdims=True) for side in (QUERIES[:2], floats[positions])]
        expected = np.einsum("qd,qmd->qm", *unit)
    expected[0, 2] = -np.inf
    low, high = (Rescorer(store, *rows, COSINE).score(QUERIES[:2], positions) for rows in ((0, 40), (40, 100)))
    np.testing.assert_allclose(np.maximum(low, high), expected, rtol=1e-5)
    assert np.isneginf(low).tolist() == [[False, True, True], [True, False, False]]


def test_positions_ids_and_ranges_of_a_store(tmp_path: Path) -> None:
    store = opened(tmp_path, parts=5)
    chosen = np.array([99, 0, 41, 41, 20])
    np.testing.assert_array_equal(store.take(chosen), CORPUS[chosen])
    assert store.ids(38, 43).to_pylist() == [f"d{row}" for row in range(38, 43)]
    assert store.ids(5, 5).to_pylist() == []
    blocks = list(store.blocks(13, 47))
    assert [position for position, _ in blocks] == np.cumsum([13, *(len(rows) for _, rows in blocks)])[:-1].tolist()
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in blocks]), CORPUS[13:47])
    assert store.take(np.empty(0, np.int64)).shape == (0, 12)
    with pytest.raises(IndexError, match="of a store of 100 rows"):
        store.take(np.array([100]))


def test_the_digest_tells_stores_apart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    changed = CORPUS.copy()
    changed[5, 5] += 1e-6
    others = [
        StoredVectors.open(write_store(tmp_path / "same", CORPUS, parts=4)),
        StoredVectors.open(write_store(tmp_path / "value", changed, parts=4)),
        StoredVectors.open(write_store(tmp_path / "prompt", CORPUS, parts=4, prompt="query: ")),
    ]
    assert [other.digest == store.digest for other in others] == [True, False, False]


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    def store(name: str, precision: str = "float32", **lineage: object) -> StoredVectors:
        return StoredVectors.open(write_store(tmp_path / name, CORPUS, precision=precision, **lineage))

    plain = store("plain", normalize=False)
    scaled = store("scaled", normalize=True)
    check_comparable(plain, scaled, "cosine")
    with pytest.raises(InputError, match="normalize: False of the queries, True of the corpus"):
        check_comparable(plain, scaled, "dot")
    with pytest.raises(InputError, match="holds bits"):
        check_comparable(store("bits", "binary"), plain, "cosine")
