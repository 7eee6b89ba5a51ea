"""Duplicate ids across files, at once or bucket by bucket."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.store.readers.duplicates import find_duplicates, hash_ids, partition_hashes
from tests.store.readers.writing import SPEC, encode, scan_all


def naive(ids: list[object], limit: int) -> list[tuple[int, int]]:
    first: dict[object, int] = {}
    return [(first[i], row) for row, i in enumerate(ids) if first.setdefault(i, row) != row][:limit]


@given(
    st.one_of(st.lists(st.integers(-3, 3)), st.lists(st.sampled_from("abcde")), st.lists(st.integers(0, 2**63 - 1))),
    st.integers(0, 40),
    st.integers(1, 5),
    st.integers(0, 50),
)
def test_any_split_and_any_number_of_buckets(ids: list[object], cut: int, buckets: int, limit: int) -> None:
    files = [(0, ids[:cut]), (min(cut, len(ids)), ids[cut:])]
    split = [partition_hashes(first, hash_ids(part, "file", 0), buckets) for first, part in files]
    found = [pair for bucket in range(buckets) for pair in find_duplicates([one[bucket] for one in split], 1000)]
    assert sorted(found, key=lambda pair: pair[1]) == naive(ids, 1000)
    whole = [partition_hashes(first, hash_ids(part, "file", 0), 1)[0] for first, part in files]
    assert find_duplicates(whole, limit) == naive(ids, limit)


def test_equal_first_halves_are_not_equal_ids() -> None:
    hashes = np.array([[1, 2], [1, 3], [1, 2], [4, 2], [1, 3]], dtype=np.uint64)
    assert find_duplicates([(np.arange(5), hashes)], 10) == [(0, 2), (1, 4)]
    assert find_duplicates([], 10) == []


@pytest.mark.parametrize("extension", ["jsonl", "csv.gz", "parquet", "arrow"])
def test_across_files_and_formats(tmp_path: Path, extension: str) -> None:
    (tmp_path / f"a.{extension}").write_bytes(encode(extension, [("x", "1"), ("y", "2")]))
    (tmp_path / "b.jsonl").write_bytes(b'{"id": "z", "text": "3"}\n{"id": "x"}\n{}\n{}\n{"id": "y", "text": "5"}\n')
    _, _, (one, other) = scan_all([tmp_path / f"a.{extension}", tmp_path / "b.jsonl"], SPEC)
    assert one.id_hashes is not None and other.id_hashes is not None
    assert one.id_hashes.shape == (2, 2) and one.id_hashes.dtype == np.uint64
    parts = [partition_hashes(0, one.id_hashes, 1)[0], partition_hashes(2, other.id_hashes, 1)[0]]
    # Rows without a text or an id are no duplicates: they will not be in the output.
    assert find_duplicates(parts, 10) == [(1, 6)]


def test_hashes_only_where_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(encode("jsonl", [(1, "x")]))
    assert scan_all([tmp_path], SPEC, want_ids=False)[2][0].id_hashes is None
    assert scan_all([tmp_path], type(SPEC)())[2][0].id_hashes is None
