"""Codes that have moved are, to the byte, those of an index that was filled with the same vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.index.build import fill
from st_ray.index.carry import put_codes, take_codes
from st_ray.index.files import index_bytes
from st_ray.index.spec import IndexSpec
from tests.index.kinds import MERGED_ON_DISK, PARTS_ONLY, SIMILARITIES, filled, spec_of, trained, vectors

CARRIED = (*MERGED_ON_DISK, "Flat", "SQ8", "SQfp16", "PQ4x4", "OPQ4_8,PQ4x4", "BFlat")
NOT_CARRIED = (*PARTS_ONLY, "IVF8,PQ4x4fs", "PQ4x4fs", "SQ8,RFlat", "IDMap,IVF8,Flat", "BHNSW4")

numbers = st.lists(st.integers(0, 60), max_size=50)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(CARRIED), st.sampled_from(SIMILARITIES), numbers, st.integers(0, 50), numbers)
def test_rows_come_go_and_move(factory: str, similarity: str, old: list[int], cut: int, new: list[int]) -> None:
    spec, rows = spec_of(factory, similarity), vectors(factory.startswith("B"))
    codec = trained(factory, similarity)
    bounds = [0, min(cut, len(old)), len(old)]
    parts = [fill(spec, codec, [(a, rows[old[a:b]])]) for a, b in itertools.pairwise(bounds)]
    fresh = np.array([place for place, number in enumerate(new) if number not in old], np.int64)
    pieces = [take_codes(fill(spec, codec, [(fresh, rows[[new[place] for place in fresh]])]))]
    for part, (first, last) in zip(parts, itertools.pairwise(bounds), strict=True):
        kept = [(old.index(number), place) for place, number in enumerate(new) if number in old]
        here = np.array([pair for pair in kept if first <= pair[0] < last], np.int64).reshape(-1, 2)
        pieces.append(take_codes(part).renamed(here[:, 0], here[:, 1]))
    assert index_bytes(put_codes(codec, pieces)) == index_bytes(fill(spec, codec, [(0, rows[new])]))


@pytest.mark.parametrize("factory", CARRIED)
def test_all_codes_are_taken(factory: str) -> None:
    index = filled(factory)
    coded = take_codes(index)
    assert sorted(coded.ids.tolist()) == list(range(index.ntotal))
    assert coded.codes.shape == (index.ntotal, spec_of(factory).traits.vector_bytes)


def test_ids_that_are_not_there() -> None:
    coded = take_codes(filled("IVF8,Flat", first=10, last=20))
    for old in ([5], [10, 25], [19, 12, 9]):
        with pytest.raises(KeyError):
            coded.renamed(np.array(old), np.zeros(len(old), np.int64))


def test_which_kinds_can() -> None:
    assert all(spec_of(factory).carries_codes for factory in CARRIED)
    assert not any(spec_of(factory).carries_codes for factory in NOT_CARRIED)
    assert [factory for factory in NOT_CARRIED if spec_of(factory).is_graph] == [
        *("HNSW8", "HNSW8,SQ8", "BHNSW8", "BHNSW4"),
    ]
    assert IndexSpec("OPQ16,IVF256_HNSW32,PQ16", "cosine", 64).carries_codes
