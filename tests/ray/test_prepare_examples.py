"""Examples made on a real Ray: byte for byte those of one process, and what a task finds wrong is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_ray.core.errors import ShardError
from st_ray.runtime.training.prepare import prepare_examples
from tests.runtime.test_training_examples import lock_of, parts_of, prepared, request_of, write_lines

pytestmark = pytest.mark.usefixtures("local_ray")


def test_parts_are_those_of_one_process(tmp_path: Path) -> None:
    rows = [{"one": f"x {row}", "two": f"y {row % 7}", "label": row % 5 - 1} for row in range(60)]
    request = request_of(
        write_lines(tmp_path / "pairs.jsonl", rows), shard_rows=9, label_scale=3.0, on_bad_row="skip", prompt="q: "
    )
    here = prepared(tmp_path, request, "here")
    with lock_of(tmp_path) as lock:
        there = prepare_examples(request, str(tmp_path / "there"), lock)
        again = prepare_examples(request, str(tmp_path / "there"), lock)
    assert there == again
    assert (there.examples, there.digest, there.dropped) == (48, here.digest, here.dropped)
    assert parts_of(tmp_path / "there") == parts_of(tmp_path / "here")


def test_a_row_that_only_reading_finds(tmp_path: Path) -> None:
    offsets = pa.array([0, 1, 3], pa.int32()).buffers()[1]
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff\xfe")])
    pq.write_table(pa.table({"one": ["x", "y"], "two": texts, "label": [1, 0]}), tmp_path / "pairs.parquet")
    request = request_of(tmp_path / "pairs.parquet")
    with lock_of(tmp_path) as lock, pytest.raises(ShardError) as caught:
        prepare_examples(request, str(tmp_path / "out"), lock)
    assert "part-00000.arrow (rows 1 to 2)" in str(caught.value)
    assert "row 2 (the first row is 1): column 'two' is not valid UTF-8" in str(caught.value)
