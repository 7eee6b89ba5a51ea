"""Texts that two stores have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.store import unchanged as module
from st_ray.store.embeddings import open_embeddings
from st_ray.store.unchanged import Parts, Unchanged, unchanged
from tests.stores import vectors, write_store

TEXTS = st.lists(st.integers(0, 30).map(str), max_size=40)


def store_of(folder: str, texts: Sequence[str], parts: int) -> Parts:
    write_store(folder, vectors(len(texts), 2), parts=parts, texts=texts)
    return folder, open_embeddings(folder).entries


@settings(max_examples=20, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 4), st.integers(1, 4), st.sampled_from([7, 1000]), st.integers(0, 3))
def test_counts_and_places_are_those_of_sets_however_cut(
    old: list[str], new: list[str], old_parts: int, new_parts: int, bucket_rows: int, seed: int
) -> None:
    both = set(old) & set(new)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BUCKET_ROWS", bucket_rows)
        stores = store_of(f"{folder}/old", old, old_parts), store_of(f"{folder}/new", new, new_parts)
        found = unchanged(*stores, 1000, seed)
        part = unchanged(*stores, 5, seed)
    assert (found.rows, found.added) == (sum(text in both for text in new), sum(text not in both for text in new))
    assert (found.gone, found.texts) == (sum(text not in both for text in old), len(both))
    assert sorted(found.old.tolist()) == sorted(old.index(text) for text in both)
    assert [old[place] for place in found.old] == [new[place] for place in found.new]
    assert [new.index(new[place]) for place in found.new] == found.new.tolist()
    # A smaller sample is the beginning of a larger one.
    assert part.old.tolist() == found.old[:5].tolist() and part.texts == len(both)


def test_the_sample_depends_on_the_seed_and_is_spread_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("stores")
    texts = [str(number) for number in range(2000)]
    stores = store_of(f"{folder}/old", texts, 3), store_of(f"{folder}/new", texts[::-1], 2)

    def sample(seed: int) -> Unchanged:
        return unchanged(*stores, 200, seed)

    one, other = sample(1), sample(2)
    assert set(one.old.tolist()) != set(other.old.tolist())
    np.testing.assert_array_equal(one.new, 1999 - one.old)
    assert 800 < one.old.mean() < 1200
