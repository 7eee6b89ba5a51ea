"""The fusion job on a real Ray: any cut, format and number of buckets, resumed, refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from st_ray.core.errors import InputError, OutputError, ShardError
from st_ray.runtime.fuse.config import FuseConfig
from st_ray.runtime.fuse.job import fuse
from st_ray.runtime.fuse.summary import fuse_summary
from st_ray.search.fusion import Fusion
from st_ray.store.hits import hits_bytes, read_hits
from st_ray.store.output import OutputFolder
from tests.rankings import Rankings, fused_by_formula, rankings_of, read_folder, table_of, write_hits

pytestmark = pytest.mark.usefixtures("local_ray")


def made(queries: int, seed: int) -> Rankings:
    """Numbers for ids; queries in an order of their own, one in eight missing."""
    chance = random.Random(seed)
    names = chance.sample(range(queries), queries * 7 // 8)
    depths = {query: chance.randrange(1, 15) for query in names}
    return {
        query: [
            (document, chance.randrange(40) / 8 + 10 - rank)
            for rank, document in enumerate(chance.sample(range(30), depth))
        ]
        for query, depth in depths.items()
    }


SETS = [made(64, seed) for seed in range(3)]
HITS = sum(len(ranking) for rankings in SETS for ranking in rankings.values())
AS_STRINGS: list[Rankings] = [
    {str(query): [(str(document), score) for document, score in ranking] for query, ranking in rankings.items()}
    for rankings in SETS
]


@pytest.fixture
def hits(tmp_path: Path) -> tuple[str, str, str]:
    """Parquet with numbers for ids, a run with strings, JSON lines with numbers; cut in different ways."""
    run = tmp_path / "lexical.run"
    run.write_bytes(hits_bytes(table_of(SETS[1]), "trec"))
    return (
        write_hits(tmp_path / "dense", SETS[0], (10, 10, 30)),
        str(run),
        write_hits(tmp_path / "other", SETS[2], (50,), "jsonl"),
    )


def run(hits: tuple[str, ...], output: Path | str, **changes: Any) -> Any:
    return fuse(FuseConfig(hits=hits, output=str(output), **changes))


def parts_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (folder / "data").iterdir()}


def test_buckets_formats_and_cuts_change_nothing(
    hits: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fused_by_formula(AS_STRINGS, Fusion("rrf", (1.0, 1.0, 1.0)))
    one = run(hits, tmp_path / "one")
    assert list(read_folder(tmp_path / "one").items()) == list(expected.items())
    monkeypatch.setattr("st_ray.runtime.fuse.job.BUCKET_HITS", -(-HITS // 7))
    many = run(hits, tmp_path / "many", format="trec")
    assert [len(result.manifest.entries) for result in (one, many)] == [1, 7]
    assert read_folder(tmp_path / "many") == expected
    for entry in many.manifest.entries:
        queries = list(rankings_of(read_hits(many.folder, entry)))
        assert queries == [query for query in expected if query in set(queries)]
    assert not (tmp_path / "many" / "staging").exists()
    about = many.manifest.about
    everything = set().union(*SETS)
    assert about["queries_missing"] == [len(everything - set(rankings)) for rankings in SETS]
    assert sum(n * count for n, count in enumerate(about["hits_found_by"], 1)) == HITS
    for name in ("queries", "hits_read", "queries_missing", "hits_found_by"):
        assert one.manifest.about[name] == about[name]
    shown = fuse_summary(many)
    assert f"{len(everything)} of 3 sets" in shown
    assert "7 shards, trec" in shown
    assert f"not in {hits[1]}" in shown
    # What this job writes it reads as well; with numbers alone, numbers stay.
    weights = (0.5, 2.0)
    run((hits[0], hits[2]), tmp_path / "two", method="weighted", weights=weights, top_k=4)
    pair = fused_by_formula([SETS[0], SETS[2]], Fusion("weighted", weights, top_k=4))
    assert read_folder(tmp_path / "two") == pair
    run((str(tmp_path / "many"), str(tmp_path / "two")), tmp_path / "again", rrf_k=1)
    both = [expected, {str(q): [(str(d), s) for d, s in ranking] for q, ranking in pair.items()}]
    assert read_folder(tmp_path / "again") == fused_by_formula(both, Fusion("rrf", (1.0, 1.0), 1))


def test_it_goes_on_where_it_was_cut_short(
    hits: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("st_ray.runtime.fuse.job.BUCKET_HITS", 300)
    out = tmp_path / "out"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OutputFolder, "finish", stop)
        run(hits, out)
    split, before = out / "staging" / "split", parts_of(out)
    staged = parts_of(split)
    assert (len(staged), len(before)) == (5, 5)
    for gone in ("commits/part-00001.json", "data/part-00002.parquet", "staging/split/data/part-00003.arrow"):
        (out / gone).unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OutputFolder, "finish", stop)
        run(hits, out)
    for now, then in ((parts_of(split), staged), (parts_of(out), before)):
        assert {name: data for name, (data, _) in now.items()} == {name: data for name, (data, _) in then.items()}
    kept = {
        name
        for name, (_, stamp) in {**parts_of(split), **parts_of(out)}.items()
        if stamp == {**staged, **before}[name][1]
    }
    assert kept == {*staged, *before} - {"part-00003.arrow", "part-00001.parquet", "part-00002.parquet"}
    result = run(hits, out)
    assert (result.already_complete, result.manifest.run["shards_done_before"]) == (False, 5)
    assert "5 shards were committed by an earlier run" in fuse_summary(result)
    assert run(hits, out).already_complete
    with pytest.raises(OutputError, match=r"(?m)^ +rrf_k: 60 before, 10 now$"):
        run(hits, out, rrf_k=10)
    with pytest.raises(OutputError, match=r"(?m)^ +hits: "):
        run(hits[::-1], out)
    assert run(hits, out, rrf_k=10, overwrite=True).manifest.lineage["rrf_k"] == 10


def test_sets_that_cannot_be_fused(tmp_path: Path) -> None:
    good: Rankings = {"q1": [("a", 1.0)], "q2": [("b", 1.0)]}
    hits = (write_hits(tmp_path / "good", good), write_hits(tmp_path / "other", {7: [("a", 1.0)]}))
    nothing_shared = r"(?m)no query of .*good is in another set: .* 'q1', .*other has .* 7$"
    with pytest.raises(InputError, match=nothing_shared) as error:
        run(hits, tmp_path / "out")
    assert "same ids" in error.value.remedy
    # The mistake leaves nothing behind that a second try would stumble over.
    write_hits(tmp_path / "other", {"q2": [("a", 1.0), ("a", 0.5)]})
    with pytest.raises(ShardError, match="other: query 'q2' has the document 'a' twice"):
        run(hits, tmp_path / "out")
    (tmp_path / "other" / "data" / "part-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(ShardError, match=r"part-00000\.parquet: cannot be read"):
        run(hits, tmp_path / "out", overwrite=True)


def test_on_an_object_store(s3: str, hits: tuple[str, str, str], tmp_path: Path) -> None:
    place = f"{s3}/{tmp_path.name}"
    remote = write_hits(f"{place}/dense", SETS[0], (20,))
    run((remote, hits[2]), f"{place}/out")
    assert read_folder(f"{place}/out") == fused_by_formula([SETS[0], SETS[2]], Fusion("rrf", (1.0, 1.0)))
