"""Rows of an embedding store by their positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import embeddings as parts
from tests.stores import vectors, write_store

ROWS = vectors(50, 8)


@pytest.fixture(scope="module")
def small_groups() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROW_GROUP_ROWS", 7)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: Any, small_groups: None) -> StoredVectors:
    return StoredVectors.open(write_store(tmp_path_factory.mktemp("store"), ROWS, parts=4))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(positions=st.lists(st.integers(0, 49), max_size=30))
def test_rows_come_in_the_order_asked_for_and_as_often(store: StoredVectors, positions: list[int]) -> None:
    places = np.array(positions, np.int64)
    np.testing.assert_array_equal(store.take(places).reshape(len(places), 8), ROWS[places])
    table = store.columns_at(["row", "id"], places)
    assert table["row"].to_pylist() == positions
    assert table["id"].to_pylist() == [f"d{position}" for position in positions]


def test_only_row_groups_with_a_wanted_row_are_read(store: StoredVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = parts.pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        parts.pq.ParquetFile,
        "read_row_group",
        lambda self, group, **how: read.append(group) or original(self, group, **how),
    )
    store.columns_at(["id"], np.array([49, 0, 1, 49]))
    assert read == [0, 1]  # the first group of the first part, the second of the last


def test_a_position_that_is_not_there(store: StoredVectors) -> None:
    with pytest.raises(IndexError, match="positions from 3 to 50 of a store of 50 rows"):
        store.columns_at(["id"], np.array([3, 50]))


def test_texts_that_were_not_kept(store: StoredVectors) -> None:
    with pytest.raises(InputError, match="has no column text") as error:
        store.columns_at(["text"], np.array([3]))
    assert "--keep-text" in str(error.value)


def test_a_part_that_is_gone(tmp_path: Path) -> None:
    store = StoredVectors.open(write_store(tmp_path / "store", ROWS, parts=2))
    (tmp_path / "store" / "data" / store.entries[1].name).unlink()
    assert store.columns_at(["id"], np.array([3])).num_rows == 1
    with pytest.raises(InputError, match=store.entries[1].name):
        store.take(np.array([3, 40]))
