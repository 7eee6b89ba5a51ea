"""Stores of term counts: parts that hold what was counted, for any reader, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_ray.core.errors import InputError
from st_ray.store.manifest import ShardEntry
from st_ray.store.terms import STATISTICS, StoredTerms, TermCounts, statistics_bytes, terms_bytes

COUNTS = TermCounts(
    vocabulary=pa.array(["drag", "été", "wing"]),
    lengths=np.array([3, 0, 1], np.int32),
    starts=np.array([0, 2, 2, 3]),
    codes=np.array([0, 2, 1], np.int32),
    counts=np.array([2, 1, 1], np.int32),
)
EMPTY = TermCounts(pa.array([], pa.string()), *(np.zeros(n, np.int32) for n in (0, 1, 0, 0)))


@pytest.fixture
def stored(tmp_path: Path) -> StoredTerms:
    """Two parts, and one without rows between them."""
    (tmp_path / "data").mkdir()
    entries = []
    for number, counts in enumerate((COUNTS, EMPTY, COUNTS)):
        ids = pa.array([f"d{number}{row}" for row in range(len(counts))], pa.string())
        data = terms_bytes(ids, np.arange(len(counts)), counts)
        assert data == terms_bytes(ids, np.arange(len(counts)), counts)
        (tmp_path / "data" / f"{number}.parquet").write_bytes(data)
        entries.append(ShardEntry(f"{number}.parquet", len(counts), 0, len(data), "", figures={"words": 4}))
    table = pa.table({"term": ["drag", "wing", "été"], "documents": pa.array([2, 2, 2], pa.int64())})
    (tmp_path / STATISTICS).write_bytes(statistics_bytes(table))
    return StoredTerms(str(tmp_path), tuple(entries))


def test_a_part_holds_what_was_counted(stored: StoredTerms) -> None:
    for part, counts in enumerate((COUNTS, EMPTY, COUNTS)):
        read = stored.counts(part)
        assert read.vocabulary.equals(counts.vocabulary)
        for name in ("lengths", "starts", "codes", "counts"):
            np.testing.assert_array_equal(getattr(read, name), getattr(counts, name))
    assert stored.ids(2, 5).to_pylist() == ["d02", "d20", "d21"]
    statistics = stored.statistics()
    assert (statistics.documents, statistics.words, statistics.frequencies.tolist()) == (6, 12, [2, 2, 2])
    assert statistics.terms.to_pylist() == ["drag", "wing", "été"]


def test_other_readers_see_words(stored: StoredTerms) -> None:
    place = f"{stored.folder}/data/0.parquet"
    rows = pq.read_table(place).to_pylist()
    assert rows[0] == {"id": "d00", "row": 0, "length": 3, "terms": ["drag", "wing"], "counts": [2, 1]}
    asked = f"select terms, counts from '{place}' order by row"
    assert duckdb.sql(asked).fetchall() == [(["drag", "wing"], [2, 1]), ([], []), (["été"], [1])]


def test_a_damaged_part_is_named(stored: StoredTerms) -> None:
    part, statistics = Path(stored.folder, "data", "2.parquet"), Path(stored.folder, STATISTICS)
    shorter = terms_bytes(pa.array([], pa.string()), np.arange(0), EMPTY)
    for damaged, message in ((b"PAR1", "cannot be read"), (shorter, "has 0 rows, its record says 3")):
        part.write_bytes(damaged)
        with pytest.raises(InputError, match=rf"2\.parquet.*{message}"):
            stored.counts(2)
    statistics.unlink()
    with pytest.raises(InputError, match=r"statistics\.parquet: no such file"):
        stored.statistics()
