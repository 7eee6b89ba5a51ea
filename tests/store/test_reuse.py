"""Old rows by the text: every match is one, the first one, and none is forgotten, however the rows are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from st_ray.store.embeddings import text_digests
from st_ray.store.reuse import Keyed, Matches, buckets, joined, keyed, match, read_matches, write_matches

TEXTS = st.lists(st.integers(0, 12).map(str), max_size=30)


def cut(texts: list[str], size: int) -> Keyed:
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    return joined([keyed(text_digests(part), number) for number, part in enumerate(parts)])


@given(TEXTS, TEXTS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_any_cut_and_buckets_find_the_first_old_row(
    new: list[str], old: list[str], shard_rows: int, part_rows: int, count: int
) -> None:
    pairs = zip(buckets(cut(new, shard_rows), count), buckets(cut(old, part_rows), count), strict=True)
    results = [match(*pair) for pair in pairs]
    found = {
        tuple(place): tuple(old_place)
        for matches, _ in results
        for place, old_place in zip(matches.new.tolist(), matches.old.tolist(), strict=True)
    }
    assert found == {
        divmod(row, shard_rows): divmod(old.index(text), part_rows) for row, text in enumerate(new) if text in old
    }
    assert sum(gone for _, gone in results) == sum(text not in new for text in old)


def test_texts_that_share_half_a_digest_are_not_the_same() -> None:
    keys = np.array([[1, 2], [1, 3], [4, 2]], np.uint64)
    places = np.array([[0, 0], [0, 1], [0, 2]], np.int32)
    matches, gone = match(Keyed(keys[1:], places[1:]), Keyed(keys[:1], places[:1]))
    assert (len(matches.new), gone) == (0, 1)


def test_a_slice_of_digests_has_its_own_keys() -> None:
    digests = text_digests([str(number) for number in range(10)])
    np.testing.assert_array_equal(keyed(digests.slice(4, 3), 0).keys, keyed(digests, 0).keys[4:7])


def test_matches_are_kept_in_the_order_of_rows(tmp_path: object) -> None:
    url = f"{tmp_path}/part.npy"
    assert read_matches(url).shape == (0, 3)
    write_matches(url, Matches(np.array([[7, 5], [7, 2]], np.int32), np.array([[0, 1], [3, 9]], np.int32)))
    assert read_matches(url).tolist() == [[2, 3, 9], [5, 0, 1]]
