"""Training and filling: repeatable, silent, and strict about what comes in."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.build import fill, train
from st_ray.index.files import index_bytes
from st_ray.index.query import search_index
from tests.index.kinds import DIMENSION, MERGED, PARTS_ONLY, ROWS, filled, spec_of, trained, vectors

SEEDED = ["IVF8,Flat", "IVF8,SQ8", "PQ4x4", "OPQ4_8,IVF8,PQ4x4", "IVF8_HNSW4,Flat", "HNSW4,PQ4x4", "BIVF8"]


@pytest.mark.parametrize("factory", SEEDED)
def test_the_seed_decides(factory: str) -> None:
    spec = spec_of(factory)
    sample = vectors(spec.binary)
    first, again, other = (index_bytes(train(spec, sample, seed)) for seed in (0, 0, 2**40 + 1))
    assert first == again != other


@pytest.mark.parametrize("factory", [*MERGED, *PARTS_ONLY])
def test_every_vector_is_there_under_its_position(factory: str) -> None:
    spec = spec_of(factory)
    rows = vectors(spec.binary)
    index = fill(spec, trained(factory), [(1000, rows[:150]), (1150, rows[:0]), (1150, rows[150:])])
    assert index.ntotal == ROWS
    _, found = search_index(index, spec, rows, 10, 400)
    own = (found == 1000 + np.arange(ROWS)[:, None]).any(axis=1)
    assert own.mean() > (0.6 if "x4" in factory else 0.95)
    assert found[found >= 0].min() >= 1000


def test_blocks_do_not_matter() -> None:
    spec = spec_of("IVF8,SQ8")
    rows = vectors()
    cut = fill(spec, trained("IVF8,SQ8"), [(0, rows[:1]), (1, rows[1:77]), (77, rows[77:])])
    assert index_bytes(cut) == index_bytes(filled("IVF8,SQ8"))


def test_nothing_to_fill_in() -> None:
    assert fill(spec_of("IVF8,Flat"), trained("IVF8,Flat"), []).ntotal == 0


def test_training_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for factory in ("IVF8,Flat", "PQ2", "OPQ2,IVF8,PQ2", "HNSW4,PQ2"):
        train(spec_of(factory), vectors()[:256])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_no_numbers_are_named(bad: float) -> None:
    rows = vectors().copy()
    rows[7, 3] = bad
    with pytest.raises(InputError, match="training vector 7 holds NaN or infinity"):
        train(spec_of("IVF8,Flat"), rows)
    with pytest.raises(InputError, match="vector 1007 holds NaN or infinity"):
        fill(spec_of("Flat"), trained("Flat"), [(1000, rows)])


def test_other_vectors_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(400, 15\); the index has 16 dimensions"):
        train(spec_of("IVF8,Flat"), vectors()[:, :15])
    with pytest.raises(InputError, match="bits in uint8"):
        fill(spec_of("BFlat"), trained("BFlat"), [(0, vectors())])
    with pytest.raises(InputError, match="has 7 vectors; factory IVF8,Flat needs at least 8"):
        train(spec_of("IVF8,Flat"), vectors()[:7])


def test_what_faiss_cannot_do_is_said() -> None:
    with pytest.raises(InputError, match="cannot train PCA99,Flat on 400 vectors: PCA matrix cannot"):
        train(spec_of("PCA99,Flat"), vectors())
    blocks = [(0, vectors()[:200]), (200, vectors()[200:])]
    with pytest.raises(ConfigError, match="vectors 200 to 399 to NSG8: NSG does not support incremental"):
        fill(spec_of("NSG8"), trained("NSG8"), blocks)


def test_rows_are_left_alone_and_zeros_stay_zeros() -> None:
    rows = vectors().copy()
    rows[3] = 0
    before = rows.copy()
    index = fill(spec_of("Flat"), trained("Flat"), [(0, rows)])
    np.testing.assert_array_equal(rows, before)
    stored = faiss.vector_to_array(faiss.downcast_index(index.index).codes).view(np.float32).reshape(ROWS, DIMENSION)
    expected = np.ones(ROWS)
    expected[3] = 0
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), expected, rtol=1e-6)


def test_lengths_far_from_one_are_normalised() -> None:
    rows = vectors() * np.float32(1e30)
    scores, found = search_index(fill(spec_of("Flat"), trained("Flat"), [(0, rows)]), spec_of("Flat"), rows[:5], 1)
    np.testing.assert_array_equal(found[:, 0], np.arange(5))
    np.testing.assert_allclose(scores, 1, rtol=1e-5)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "OPQ4_8,IVF8,PQ4x4", "IVF8_HNSW4,Flat"])
def test_lists_are_clustered_on_gpus(factory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: asked.append(index) or index)
    index = train(spec_of(factory), vectors())
    assert len(asked) == 1
    assert asked[0].ntotal > 0
    assert faiss.extract_index_ivf(index).clustering_index is None
    assert index_bytes(index) == trained(factory)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "OPQ4_8,IVF8,PQ4x4", "IVF8_HNSW4,Flat", "Flat"])
def test_lists_are_assigned_on_gpus(factory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, rows = spec_of(factory), vectors()
    plain = index_bytes(fill(spec, trained(factory), [(0, rows)]))
    asked = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: asked.append(index) or faiss.clone_index(index))
    assert index_bytes(fill(spec, trained(factory), [(0, rows)])) == plain
    assert len(asked) == (factory not in ("IVF8_HNSW4,Flat", "Flat"))
