"""The join of rows by key: exact, the first row wins, and any cut into buckets finds the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from st_ray.store.embeddings import text_digests
from st_ray.store.join import (
    bucket_rows,
    buckets,
    digest_keys,
    grouped,
    id_keys,
    joined,
    keyed,
    lookup,
    run_positions,
)

IDS = st.lists(st.text(max_size=20) | st.integers(-(2**63), 2**63 - 1).map(str), max_size=40)
# Few values, so that keys share halves, and whole keys.
KEYS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=25).map(
    lambda rows: np.array(rows, np.uint64).reshape(-1, 2)
)


@given(IDS, st.integers(0, 40))
def test_keys_of_ids_are_equal_where_the_ids_are(ids: list[str], first: int) -> None:
    keys = list(map(tuple, id_keys(pa.array(ids, pa.string())).tolist()))
    assert len(set(keys)) == len(set(ids)) == len(dict(zip(ids, keys, strict=True)))
    assert dict(zip(ids, keys, strict=True)) == dict(zip(reversed(ids), reversed(keys), strict=True))
    assert list(map(tuple, id_keys(pa.array(ids, pa.string()).slice(first)).tolist())) == keys[first:]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_an_integer_has_the_key_of_its_text(numbers: list[int]) -> None:
    keys = id_keys(pa.array(numbers, pa.int64()))
    np.testing.assert_array_equal(keys, id_keys(pa.array(list(map(str, numbers)), pa.string())))


def test_ids_that_differ_in_little_have_quite_different_keys() -> None:
    texts = [f"doc-{number:08d}" for number in range(20_000)]
    texts += [f"{text}{tail}" for text in texts[:2000] for tail in ("\0", " ", "0", "-and-more")]
    keys = id_keys(pa.array(texts))
    assert len(np.unique(keys[:, 0])) == len(np.unique(keys[:, 1])) == len(set(texts)) == len(texts)
    filled = np.bincount((keys[:, 1] % np.uint64(7)).astype(int))
    assert filled.max() < 1.1 * filled.min()


@given(KEYS, KEYS)
def test_lookup_finds_the_first_of_the_same(keys: np.ndarray, among: np.ndarray) -> None:
    found, rows = lookup(keys, among)
    known = among.tolist()
    assert found.tolist() == [key in known for key in keys.tolist()]
    assert rows.tolist() == [known.index(key) for key in keys.tolist() if key in known]


@given(KEYS)
def test_groups_hold_equal_keys_as_they_stood(keys: np.ndarray) -> None:
    order, starts, counts = grouped(keys)
    groups = [order[start : start + count].tolist() for start, count in zip(starts, counts, strict=True)]
    wanted: dict[tuple[int, ...], list[int]] = {}
    for row, key in enumerate(map(tuple, keys.tolist())):
        wanted.setdefault(key, []).append(row)
    assert sorted(groups) == sorted(wanted.values())


@given(KEYS, st.integers(1, 5))
def test_buckets_keep_all_rows_in_order_and_equal_keys_together(keys: np.ndarray, count: int) -> None:
    rows = bucket_rows(keys, count)
    assert len(rows) == count
    assert all((np.diff(bucket) > 0).all() for bucket in rows)
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(keys)))
    of_key: dict[tuple[int, ...], set[int]] = {}
    for number, bucket in enumerate(rows):
        for key in map(tuple, keys[bucket].tolist()):
            of_key.setdefault(key, set()).add(number)
    assert all(len(numbers) == 1 for numbers in of_key.values())
    together = joined(buckets(keyed(keys, 3, 5), count))
    np.testing.assert_array_equal(together.keys, keys[np.concatenate(rows)])
    assert together.places.tolist() == [[3, 5 + row] for row in np.concatenate(rows).tolist()]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4)), max_size=10))
def test_positions_of_runs(runs: list[tuple[int, int]]) -> None:
    starts, counts = np.array(runs, np.int64).reshape(-1, 2).T
    assert run_positions(starts, counts).tolist() == [p for s, n in runs for p in range(s, s + n)]


def test_a_slice_of_digests_has_its_own_keys() -> None:
    digests = text_digests([str(number) for number in range(10)])
    np.testing.assert_array_equal(digest_keys(digests.slice(4, 3)), digest_keys(digests)[4:7])
