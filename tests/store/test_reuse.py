"""Old rows by the text: every match is one, the first one, and none is forgotten, however the rows are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from st_ray.store.embeddings import text_digests
from st_ray.store.join import Keyed, buckets, digest_keys, joined, keyed
from st_ray.store.reuse import Matches, match, read_matches, write_matches

TEXTS = st.lists(st.integers(0, 12).map(str), max_size=30)


def cut(texts: list[str], size: int) -> Keyed:
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    return joined([keyed(digest_keys(text_digests(part)), number) for number, part in enumerate(parts)])


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


def test_matches_are_kept_in_the_order_of_rows(tmp_path: object) -> None:
    url = f"{tmp_path}/part.npy"
    assert read_matches(url).shape == (0, 3)
    write_matches(url, Matches(np.array([[7, 5], [7, 2]], np.int32), np.array([[0, 1], [3, 9]], np.int32)))
    assert read_matches(url).tolist() == [[2, 3, 9], [5, 0, 1]]
