"""The texts of ids, as all jobs have them that name texts by id; what the join finds, their own tests show."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.runtime.corpus import prepare_corpus
from st_ray.runtime.texts_by_id.staged import text_request
from st_ray.runtime.texts_by_id.texts import TextTask, cut_matches
from st_ray.store.readers.spec import ReadSpec


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, unique=True),
    st.integers(1, 8),
    st.integers(1, 25),
)
def test_tasks_are_as_small_as_can_be(wanted: list[tuple[int, int]], most: int, most_read: int) -> None:
    """By slot and shard of texts, of which each has ten rows; the row is the place in the list."""
    matches = np.array([(slot, row, shard, row) for row, (slot, shard) in enumerate(wanted)], np.int32)
    pieces = cut_matches(matches, np.full(6, 10), most, most_read)
    assert sorted(np.concatenate(pieces)[:, 3].tolist()) == list(range(len(wanted)))
    for piece in pieces:
        assert len(piece) <= most
        assert len(np.unique(piece[:, 2])) <= max(1, most_read // 10)
    shards = [np.unique(piece[:, 2]) for piece in pieces]
    assert all(here[-1] <= behind[0] for here, behind in itertools.pairwise(shards))
    for one, other in itertools.pairwise(pieces):
        both = np.concatenate([one, other])
        whole = other[other[:, 2] == other[0, 2]]
        assert len(both) > most or len(one) + len(whole) > most or len(np.unique(both[:, 2])) * 10 > most_read


def test_what_a_task_is_called() -> None:
    assert str(TextTask("query", 3, 10, "query.npy")) == "texts of queries for shards of range 3"
    assert str(TextTask("document", 0, 1, "document.npy")) == "texts of documents for shards of range 0"


def test_ids_that_stand_twice(tmp_path: Path) -> None:
    path = tmp_path / "texts.tsv"
    path.write_text("".join(f"{key}\ttext\n" for key in ("a", "b", "c", "d", "b")))
    request = text_request([str(path)], ReadSpec("id", ("text",), ("id", "text")), "fail", str(tmp_path))
    with pytest.raises(InputError, match=r"same id more than once[\s\S]*texts\.tsv, row 2, and .* row 5"):
        prepare_corpus(request)
