"""The community job's law: any cut of the store, of the work and of its memory gives what one call in memory does."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray import community_detection
from st_ray.core.errors import InputError
from st_ray.mining import neighbourhoods
from st_ray.runtime.mining.communities.count import Pair, Span, cut_pairs
from st_ray.runtime.mining.communities.holders import Holders, start_holders
from st_ray.runtime.mining.communities.job import detect_communities
from st_ray.runtime.mining.communities.summary import communities_summary
from st_ray.store import fs
from st_ray.store.embeddings import embedding_array, part_bytes
from tests.inline_communities import LocalActors, communities_of, config_for, floats_of, inline_job, table_of
from tests.stores import vectors, write_store

OWN = {"run.json", "manifest.json", "data", "commits", "report.html"}
# Many of them are cosines of small integers, as 1/2 of [1, 1, 0] and [1, 0, 1].
THRESHOLDS = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.6, 0.75, 0.8, 0.95, 1.0)


def integers(rows: int, spread: int, seed: int) -> np.ndarray:
    """Small ones, so that ties, duplicates and cosines at a threshold abound; none is all zeros."""
    found = np.random.default_rng(seed).integers(-spread, spread + 1, (rows, 4)).astype(np.float32)
    found[~found.any(axis=1), 0] = 1
    return found


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 60),
    spread=st.sampled_from([1, 2, 30]),
    threshold=st.sampled_from(THRESHOLDS),
    least=st.sampled_from([1, 2, 3, 5, 10, 25]),
    precision=st.sampled_from(["float32", "float16", "int8"]),
    parts=st.integers(1, 5),
    cuts=st.fixed_dictionaries(
        {
            "group": st.integers(7, 70),
            "block": st.integers(3, 70),
            "held": st.integers(3, 70),
            "share": st.integers(5, 70),
            "keep_bytes": st.sampled_from([0, 500, 1 << 30]),
            "part_rows": st.sampled_from([1, 7, 1000]),
            "centres": st.sampled_from([1, 3, 256]),
            "listed": st.sampled_from([1, 12, 1 << 22]),
            "note_seconds": st.sampled_from([0.0, 10.0]),
        }
    ),
    pool=st.sampled_from([{}, {"actors": "1", "cpus_per_actor": 1.5}]),
    forgetful=st.booleans(),
    coarse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_cut_gives_the_same_communities(
    rows: int,
    spread: int,
    threshold: float,
    least: int,
    precision: str,
    parts: int,
    cuts: dict[str, Any],
    pool: dict[str, Any],
    forgetful: bool,
    coarse: bool,
    seed: int,
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        inline_job(actors=LocalActors(forgetful), **cuts),
        mock.patch("st_ray.runtime.mining.communities.job.report", lambda *_: b""),  # most of the time
        mock.patch.object(neighbourhoods, "coarse_is_faster", lambda _: coarse),
        mock.patch.multiple(neighbourhoods, TILE={"cpu": 5, "cuda": 5}, _PAIRS=7),
        mock.patch("st_ray.runtime.mining.communities.count.STRIP", 9),
    ):
        store = write_store(f"{folder}/store", integers(rows, spread, seed), parts=parts, precision=precision)
        embeddings = floats_of(store)
        expected = community_detection(embeddings, threshold, least)
        flags = {"threshold": threshold, "min_community_size": least, **pool}
        result = detect_communities(config_for(store, f"{folder}/out", **flags))
        table = table_of(f"{folder}/out")
        assert communities_of(table) == expected
        assert table["id"].to_pylist() == [f"d{row}" for row in table["row"].to_pylist()]
        assert_scores(table, embeddings)
        about = result.manifest.about
        assert (about["communities"], about["rows_in_communities"]) == (len(expected), sum(map(len, expected)))
        bins = about["sizes"]
        assert sum(bin["communities"] for bin in bins) == len(expected)
        assert sum(bin["rows"] for bin in bins) == len(table)
        assert {path.name for path in Path(folder, "out").iterdir()} == OWN


def assert_scores(table: pa.Table, embeddings: np.ndarray) -> None:
    """Cosines to the centre, in float64, rounded once."""
    if not len(table):
        return
    starts = np.flatnonzero(table["rank"].to_numpy() == 1)
    rows = table["row"].to_numpy()
    centres = np.repeat(rows[starts], np.diff([*starts, len(rows)]))
    one, other = (embeddings[at].astype(np.float64) for at in (centres, rows))
    expected = (one * other).sum(axis=1) / np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
    assert table["score"].type == pa.float32()
    np.testing.assert_allclose(table["score"].to_numpy(), expected, atol=6e-8)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return write_store(tmp_path / "store", vectors(300))


CUT = {"group": 90, "block": 40, "held": 30, "share": 80, "centres": 4, "note_seconds": 0.0}
FLAGS = {"threshold": 0.6, "min_community_size": 3}


def test_it_goes_on_where_the_pass_was_cut_short(store: str, tmp_path: Path) -> None:
    expected = community_detection(floats_of(store), 0.6, 3)
    config = config_for(store, tmp_path / "out", **FLAGS)
    rounds: list[int] = []

    def ask(real: Any, most: int) -> Any:
        def asked(self: Holders, centres: np.ndarray, taken: np.ndarray) -> Any:
            rounds.append(int(taken.sum()))
            if len(rounds) == most:
                raise KeyboardInterrupt
            return real(self, centres, taken)

        return asked

    def run(most: int, note_seconds: float = 0.0) -> Any:
        rounds.clear()
        changes = {**CUT, "note_seconds": note_seconds}
        with inline_job(**changes), mock.patch.object(Holders, "neighbours", ask(Holders.neighbours, most)):
            return detect_communities(config)

    with pytest.raises(KeyboardInterrupt):
        run(4)
    assert rounds[0] == 0
    first = rounds[-1]
    notes = tmp_path / "out" / "staging" / "found"
    kept = {path.name: path.stat().st_mtime_ns for path in (notes / "data").iterdir()}
    assert len(kept) == 3
    # What was not noted is asked again, from the last note on.
    with pytest.raises(KeyboardInterrupt):
        run(3, note_seconds=1000.0)
    assert rounds[0] == first
    assert {path.name: path.stat().st_mtime_ns for path in (notes / "data").iterdir()} == kept
    # So it is when a note is lost, and with it those behind it.
    (notes / "commits" / f"{sorted(kept)[1].removesuffix('.parquet')}.json").unlink()
    result = run(0)
    assert 0 < rounds[0] < first
    assert communities_of(table_of(result.folder)) == expected
    assert 0 < result.manifest.run["candidates_done_before"] < result.manifest.about["rows_with_enough_neighbours"]
    assert result.manifest.run["shards_done_before"] == len(cut_pairs_of(300, 90))
    assert "candidates were done by an earlier run" in communities_summary(result)
    with inline_job(**CUT):
        again = detect_communities(config)
    assert again.already_complete
    assert "nothing to do" in communities_summary(again)


def test_a_pass_that_begins_again_with_the_same_actors(store: str, tmp_path: Path) -> None:
    """As Ray repeats a task whose process died: the actors have left out rows that are not taken any more."""
    config = config_for(store, tmp_path / "out", **FLAGS)
    begun: list[Holders] = []
    rounds: list[int] = []

    def same(*args: Any) -> Holders:
        begun[:] = begun or [start_holders(*args)]
        return begun[0]

    def ask(self: Holders, centres: np.ndarray, taken: np.ndarray) -> Any:
        rounds.append(int(taken.sum()))
        if len(rounds) == 4:
            raise KeyboardInterrupt
        return real(self, centres, taken)

    real = Holders.neighbours
    with (
        inline_job(**{**CUT, "note_seconds": 1000.0}),
        mock.patch("st_ray.runtime.mining.communities.job.start_holders", same),
        mock.patch.object(Holders, "neighbours", ask),
    ):
        with pytest.raises(KeyboardInterrupt):
            detect_communities(config)
        result = detect_communities(config)
    assert rounds[3] > 150
    assert rounds[4] == 0
    assert communities_of(table_of(result.folder)) == community_detection(floats_of(store), 0.6, 3)


def cut_pairs_of(rows: int, group: int) -> list[Pair]:
    with inline_job(group=group):
        return cut_pairs(rows)


def test_taken_rows_are_left_out_and_forgotten(tmp_path: Path) -> None:
    """Two far groups: the actors need not look at the first one again once it is a community."""
    rows = np.repeat(np.eye(2, dtype=np.float32), [70, 30], axis=0)
    store = write_store(tmp_path / "store", rows, parts=1)
    seen: list[tuple[int, int]] = []
    real = neighbourhoods.neighbourhoods

    def spy(centres: Any, rows: Any, threshold: float) -> Any:
        lists = real(centres, rows, threshold)
        seen.append((len(rows), len(lists.ids)))
        return lists

    with (
        inline_job(centres=1, held=60),
        mock.patch("st_ray.runtime.mining.communities.holders.neighbourhoods", spy),
    ):
        result = detect_communities(config_for(store, tmp_path / "out", actors="1"))
    assert result.manifest.about["communities"] == 2
    assert sum(rows for rows, _ in seen) == 100 + 30
    assert sum(found for _, found in seen) == 100


def test_pairs_of_groups() -> None:
    pairs = cut_pairs_of(300, 90)
    assert pairs[0] == Pair(Span(0, 75), Span(0, 75))
    assert sum(pair.pairs for pair in pairs) == 300 * 301 // 2
    assert str(pairs[0]) == "rows 0 to 74"
    assert str(pairs[1]) == "rows 0 to 74 and rows 75 to 149"
    assert len(cut_pairs(10**9)) == 80 * 81 // 2
    assert cut_pairs(0) == []


@pytest.mark.parametrize(("value", "what"), [(np.nan, "is not finite"), (0.0, "is all zeros, which has no cosine")])
def test_rows_without_a_cosine_are_named(tmp_path: Path, value: float, what: str) -> None:
    rows = vectors(300)
    rows[[104, 107]] = value
    store = write_store(tmp_path / "store", rows)
    named = rf"store: the embedding of 'd104' {what} \(such rows: 2\)"
    with inline_job(**CUT), pytest.raises(InputError, match=named):
        detect_communities(config_for(store, tmp_path / "out", **FLAGS))


def test_nothing_to_find(tmp_path: Path) -> None:
    for name, rows, least in (("empty", 0, 1), ("one", 1, 2), ("far", 12, 2)):
        store = write_store(tmp_path / name, np.eye(12, dtype=np.float32)[:rows], parts=1)
        with inline_job():
            result = detect_communities(config_for(store, tmp_path / f"out-{name}", min_community_size=least))
        table = table_of(result.folder)
        assert table.schema.names == ["community", "rank", "id", "row", "score"]
        assert len(table) == result.manifest.about["communities"] == 0
        assert b"None found" in (tmp_path / f"out-{name}" / "report.html").read_bytes()
        assert f"{rows} of" in communities_summary(result)


def test_on_an_object_store(s3: str, store: str, tmp_path: Path) -> None:
    place = f"{s3}/{tmp_path.name}"
    remote = write_store(f"{place}/store", floats_of(store))
    with inline_job(**CUT, part_rows=50):
        result = detect_communities(config_for(remote, f"{place}/out", **FLAGS))
    assert communities_of(table_of(f"{place}/out")) == community_detection(floats_of(store), 0.6, 3)
    assert len(result.manifest.entries) > 1
    filesystem, path = fs.open_fs(f"{place}/out")
    assert {name.rpartition("/")[2] for name in filesystem.ls(path, detail=False)} == OWN


def test_texts_and_the_report(tmp_path: Path) -> None:
    rows = np.repeat(np.eye(2, dtype=np.float32), [11, 3], axis=0)
    store = write_store(tmp_path / "store", rows, parts=2)
    with inline_job(), pytest.raises(InputError, match=r"--keep-text: .*store holds no texts"):
        detect_communities(config_for(store, tmp_path / "out", keep_text=True))
    add_texts(tmp_path / "store")
    with inline_job():
        detect_communities(config_for(store, tmp_path / "out", min_community_size=3, keep_text=True))
    table = table_of(tmp_path / "out")
    assert table["text"].to_pylist() == [f"<text> {row}" for row in [*range(11), 11, 12, 13]]
    page = (tmp_path / "out" / "report.html").read_text()
    for shown in ("Community 0: 11 rows", "Community 1: 3 rows", "&lt;text&gt; 13", ">14 (100.0%)<", ">6–11<", "<svg"):
        assert shown in page
    assert "&lt;text&gt; 6" not in page  # neither near to its centre nor far
    with inline_job():
        detect_communities(config_for(store, tmp_path / "plain", min_community_size=3))
    assert table_of(tmp_path / "plain").schema.names == ["community", "rank", "id", "row", "score"]


def add_texts(folder: Path) -> None:
    """Texts beside the rows of a store."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["lineage"]["keep_text"] = True
    for entry in manifest["entries"]:
        table = pq.read_table(folder / "data" / entry["name"])
        texts = [f"<text> {row}" for row in table["row"].to_pylist()]
        meta = table.drop_columns(["embedding"]).append_column("text", [texts])
        (folder / "data" / entry["name"]).write_bytes(part_bytes(meta, embedding_array(table["embedding"])))
    (folder / "manifest.json").write_text(json.dumps(manifest))
