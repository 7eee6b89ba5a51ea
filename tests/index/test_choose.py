"""The automatic recipe: what fits, and what is said where nothing does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError
from st_ray.index.choose import EXACT_ROWS, choose_spec

MIB = 1 << 20


@pytest.mark.parametrize(
    ("rows", "memory", "factory"),
    [
        (0, 0, "Flat"),
        (EXACT_ROWS, 100 * MIB, "Flat"),
        (EXACT_ROWS + 1, 100 * MIB, "IVF1024,SQfp16"),
        (10**6, 800 * MIB, "IVF4096,SQfp16"),
        (10**6, 420 * MIB, "IVF4096,SQ8"),
        (10**6, 320 * MIB, "IVF4096,SQ6"),
        (10**6, 220 * MIB, "IVF4096,SQ4"),
        (10**6, 120 * MIB, "IVF4096,PQ96"),
        (10**6, 70 * MIB, "OPQ48_384,IVF4096,PQ48"),
        (10**6, 45 * MIB, "OPQ24_384,IVF4096,PQ24"),
        (10**8, 10**6 * MIB, "IVF32768_HNSW32,SQfp16"),
    ],
)
def test_the_longest_codes_that_fit(rows: int, memory: int, factory: str) -> None:
    assert choose_spec(rows, 384, "cosine", memory).factory == factory


def test_bits() -> None:
    assert choose_spec(1000, 384, "cosine", MIB, binary=True).factory == "BFlat"
    assert choose_spec(10**6, 384, "cosine", 60 * MIB, binary=True).factory == "BIVF4096"


def test_only_comparing_all_finds_all() -> None:
    assert choose_spec(10**6, 384, "dot", 1500 * MIB, target_recall=1.0).factory == "Flat"
    with pytest.raises(ConfigError, match=r"Flat takes 1.4 GiB(.|\n)*lower --target-recall"):
        choose_spec(10**6, 384, "dot", 1000 * MIB, target_recall=1.0)


def test_what_would_fit_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no index of 1000000 vectors .* 10.0 MiB: OPQ24(.|\n)*--truncate-dim"):
        choose_spec(10**6, 384, "cosine", 10 * MIB)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 200),
    st.floats(0.05, 5),
    st.sampled_from(["cosine", "dot", "euclidean"]),
    st.booleans(),
)
def test_it_fits_and_can_be_trained(rows: int, dimension: int, share: float, similarity: str, binary: bool) -> None:
    memory = int(share * rows * dimension)
    try:
        spec = choose_spec(rows, dimension, similarity, memory, binary=binary)
    except ConfigError as error:
        assert "fits into" in error.message
        return
    assert spec.memory_bytes(rows) <= memory
    spec.check_rows(rows)
