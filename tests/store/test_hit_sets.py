"""Sets of hits as users name them: folders and files, their digests, and places that hold none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from st_ray.core.errors import InputError
from st_ray.store.hit_sets import open_hit_set
from st_ray.store.hits import hits_bytes
from tests.rankings import Rankings, rankings_of, table_of, write_hits

RANKINGS: Rankings = {"q1": [("a", 2.0), ("b", 1.0)], "q2": [], "q3": [("c", 0.5)]}
FILLED = {query: ranking for query, ranking in RANKINGS.items() if ranking}


def test_a_folder_is_read_by_parts(tmp_path: Path) -> None:
    found = open_hit_set(write_hits(tmp_path / "hits", RANKINGS, (1, 2), "jsonl"))
    assert [part.rows for part in found.parts] == [2, 0, 1]
    assert [rankings_of(part.read()) for part in found.parts] == [{"q1": FILLED["q1"]}, {}, {"q3": FILLED["q3"]}]
    assert found.parts[2].place == f"{tmp_path}/hits/data/part-00002.jsonl"
    again = open_hit_set(write_hits(tmp_path / "hits", FILLED, (), "jsonl"))
    assert (again.rows, again.digest == found.digest) == (3, False)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "some run", "a.trec.gz"])
def test_a_file_is_one_part(tmp_path: Path, name: str) -> None:
    form = {"a.parquet": "parquet", "a.jsonl": "jsonl"}.get(name, "trec")
    data = hits_bytes(table_of(RANKINGS), form).rstrip(b"\n" if form != "parquet" else b"")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = open_hit_set(str(tmp_path / name))
    assert (found.rows, [part.rows for part in found.parts]) == (3, [3])
    assert rankings_of(found.parts[0].read()) == FILLED
    assert found.parts[0].place == str(tmp_path / name)


def test_how_a_file_is_compressed_does_not_matter(tmp_path: Path) -> None:
    data = hits_bytes(table_of(RANKINGS), "trec")
    (tmp_path / "a.run").write_bytes(data)
    (tmp_path / "a.run.gz").write_bytes(gzip.compress(data))
    (tmp_path / "b.run").write_bytes(data.replace(b"q1", b"q4"))
    digests = [open_hit_set(str(tmp_path / name)).digest for name in ("a.run", "a.run.gz", "b.run")]
    assert digests[0] == digests[1] != digests[2]


def test_places_without_hits_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.run").touch()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1PAR1")
    for place, message in (
        ("nowhere", "nowhere: no such file"),
        ("empty.run", r"empty\.run holds no hits"),
        ("bad.parquet", r"bad\.parquet: cannot be read"),
        (".", r"no manifest\.json"),
        (Path(write_hits(tmp_path / "none", {"q": []})).name, "none holds no hits"),
    ):
        with pytest.raises(InputError, match=message):
            open_hit_set(str(tmp_path / place))
