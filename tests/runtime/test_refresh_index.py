"""A refreshed index is the one that is filled anew with the same training; what cannot be refreshed is rebuilt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.build import fill
from st_ray.index.files import index_bytes, open_index
from st_ray.index.output import open_index_output
from st_ray.index.query import search_index
from st_ray.index.tune import Curve, Point
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.build_index.summary import build_index_summary
from st_ray.runtime.resources import Node
from st_ray.scoring.vectors import StoredVectors
from tests.inline_ray import InlineRay, inline_ray
from tests.stores import vectors, write_store

ROWS = 300
POOL = vectors(500)
OLD = TemporaryDirectory(prefix="refresh-")
"""Of indexes that are built once."""
CARRIED = (
    *("Flat", "SQ8", "PQ4x4", "IVF8,Flat", "IVF8,SQfp16", "IVF8,PQ4x4", "OPQ4_8,IVF8,PQ4x4", "IVF8_HNSW4,Flat"),
    *("BFlat", "BIVF8"),
)
STEPS = "st_ray.runtime.build_index"

edits = st.lists(st.tuples(st.sampled_from("idm"), st.integers(0, ROWS - 40), st.integers(0, 499)), max_size=40)


@pytest.fixture(autouse=True, scope="module")
def inline() -> Iterator[InlineRay]:
    with inline_ray(f"{STEPS}.steps") as found, ExitStack() as stack:
        for module in ("steps", "refresh", "sample", "join"):
            stack.enter_context(mock.patch(f"{STEPS}.{module}.ray", found))
        stack.enter_context(mock.patch(f"{STEPS}.steps.cluster_nodes", lambda: [Node(2, 0, 8 << 30)]))
        yield found


def store_of(folder: Path, numbers: Sequence[int], **changes: Any) -> str:
    """Row i has the vector and the text of `numbers[i]`."""
    return write_store(folder, POOL[list(numbers)], texts=[f"text {number}" for number in numbers], **changes)


def built(folder: Path, store: str, **changes: Any) -> Any:
    settings = {"factory": "IVF8,Flat", "target_recall": 0.0, "part_rows": 110, "cpus_per_actor": 1.0, **changes}
    return build_index(BuildIndexConfig(embeddings=store, output=str(folder), **settings))


def edited(numbers: Sequence[int], changes: Sequence[tuple[str, int, int]]) -> list[int]:
    rows = list(numbers)
    for what, at, number in changes:
        if what == "i":
            rows.insert(at, number)
        elif what == "d":
            del rows[at]
        else:
            rows.insert(number % len(rows), rows.pop(at))
    return rows


@lru_cache
def old_index(factory: str) -> Path:
    folder = Path(OLD.name) / factory
    store_of(folder / "store", range(ROWS), precision="ubinary" if factory.startswith("B") else "float32")
    built(folder / "index", str(folder / "store"), factory=factory)
    return folder


def assert_is_filled_anew(folder: Path, trained: bytes) -> None:
    index = open_index_output(str(folder))
    store = index.open_embeddings()
    assert sum(entry.rows for entry in index.entries) == store.rows
    for entry in index.entries:
        rows = store.take(np.arange(entry.first_row, entry.first_row + entry.rows))
        whole = fill(index.spec, trained, [(entry.first_row, rows)])
        assert Path(index.part_url(entry)).read_bytes() == index_bytes(whole)


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(CARRIED), edits, edits, st.integers(40, 400))
def test_rows_come_go_and_move(
    tmp_path_factory: pytest.TempPathFactory,
    factory: str,
    first: list[tuple[str, int, int]],
    second: list[tuple[str, int, int]],
    part_rows: int,
) -> None:
    old, folder = old_index(factory), tmp_path_factory.mktemp("refresh")
    trained = (old / "index" / "trained.faiss").read_bytes()
    rows, changed = list(range(ROWS)), 0
    before = old / "index"
    for number, changes in enumerate((first, second)):
        now = edited(rows, changes)
        store = store_of(
            folder / f"store{number}", now, parts=4, precision="ubinary" if factory[0] == "B" else "float32"
        )
        refresh = built(
            folder / f"index{number}", store, factory=factory, refresh=str(before), part_rows=part_rows
        ).manifest.about["refresh"]
        kept, gone = sum(each in rows for each in now), sum(each not in now for each in rows)
        changed += max(len(now) - kept, gone)
        counts = {"kept": kept, "added": len(now) - kept, "removed": gone, "changed_since_training": changed}
        assert refresh == {"from": str(before), "how": "refreshed", "why": None, **counts}
        rows, before = now, folder / f"index{number}"
        assert_is_filled_anew(before, trained)
    shutil.rmtree(folder)


def test_what_is_searched(tmp_path: Path) -> None:
    old = old_index("Flat")
    now = [*range(400, 420), *range(50, ROWS)]
    result = built(tmp_path / "index", store_of(tmp_path / "store", now), factory="Flat", refresh=str(old / "index"))
    index = open_index_output(str(tmp_path / "index"))
    parts = [open_index(index.part_url(entry)) for entry in index.entries]
    for place in (0, 19, 20, 269):
        best = max(search_index(part, index.spec, POOL[[now[place]]], 1) for part in parts)
        assert best[1].tolist() == [[place]]
    assert "250 kept, 20 added, 50 removed" in build_index_summary(result)


@pytest.mark.parametrize("merge", ["memory", "disk"])
def test_parts_are_merged_again_and_resumed(tmp_path: Path, merge: str) -> None:
    old, store = old_index("IVF8,Flat"), store_of(tmp_path / "store", [300, *range(5, ROWS)])
    flags = {"merge": merge, "refresh": str(old / "index")}
    assert built(tmp_path / "index", store, **flags).manifest.about["refresh"]["how"] == "refreshed"
    folder = tmp_path / "index"
    whole = {path.name: path.read_bytes() for path in folder.rglob("*.faiss")}
    assert open_index(str(folder / "index.faiss")).ntotal == 296
    assert not (folder / "staging").exists()
    for gone in ("manifest.json", "index.faiss", "commits/part-00001.json", "data/part-00002.faiss"):
        (folder / gone).unlink()
    assert built(folder, store, **flags).manifest.run["parts_done_before"] == 1
    assert {path.name: path.read_bytes() for path in folder.rglob("*.faiss")} == whole
    assert built(folder, store, **flags).already_complete


def test_graphs_are_added_to(tmp_path: Path) -> None:
    first = store_of(tmp_path / "first", range(ROWS))
    built(tmp_path / "old", first, factory="HNSW8")
    more = store_of(tmp_path / "more", range(ROWS + 60), parts=4)
    refresh = {"factory": "auto", "memory_gib": 1.0, "refresh": str(tmp_path / "old")}
    about = built(tmp_path / "new", more, **refresh).manifest.about
    assert (about["factory"], about["refresh"]["how"], about["refresh"]["added"]) == ("HNSW8", "refreshed", 60)
    index = open_index_output(str(tmp_path / "new"))
    assert [(entry.first_row, entry.rows) for entry in index.entries] == [(0, 110), (110, 110), (220, 110), (330, 30)]
    for entry in index.entries:
        own = np.arange(entry.first_row, entry.first_row + entry.rows)
        assert (
            search_index(open_index(index.part_url(entry)), index.spec, POOL[own], 1, 64)[1][:, 0] == own
        ).mean() > 0.98
    for name, numbers, why in (
        ("gone", [*range(7), *range(8, 320)], "only be added to HNSW8, and row 7 is not the same any more"),
        ("short", range(290), "and row 290 is not the same any more"),
    ):
        rebuilt = built(tmp_path / f"index-{name}", store_of(tmp_path / name, numbers), **refresh).manifest.about
        assert rebuilt["refresh"]["how"] == "rebuilt"
        assert rebuilt["refresh"]["why"].endswith(why)
    other = built(tmp_path / "other", more, part_rows=100, **refresh).manifest.about["refresh"]
    assert other["why"].endswith("part by part, and its parts have other sizes")


@pytest.mark.parametrize(
    ("factory", "changes", "store", "why"),
    [
        ("IVF8,Flat", {}, {"model": "another"}, "made in another way: model: absent before, 'another' now"),
        ("IVF8,Flat", {"similarity": "dot"}, {}, "it is IVF8,Flat for cosine; IVF8,Flat for dot was asked for"),
        ("IVF8,Flat", {"factory": "IVF4,Flat"}, {}, "it is IVF8,Flat for cosine; IVF4,Flat for cosine was asked for"),
        ("IVF8,PQ4x4fs", {}, {}, "the codes of IVF8,PQ4x4fs cannot move to another index"),
    ],
)
def test_what_is_rebuilt(tmp_path: Path, factory: str, changes: Any, store: Any, why: str) -> None:
    now = store_of(tmp_path / "store", range(3, ROWS), **store)
    flags = {"factory": factory, **changes}
    result = built(tmp_path / "index", now, refresh=str(old_index(factory) / "index"), **flags)
    refresh = result.manifest.about["refresh"]
    assert (refresh["how"], refresh["kept"], refresh["added"], refresh["removed"]) == ("rebuilt", 0, 297, 300)
    assert refresh["why"].endswith(why)
    assert f"could not be refreshed: {refresh['why']}" in build_index_summary(result)
    built(tmp_path / "fresh", now, **flags)
    for path in (tmp_path / "fresh").rglob("*.faiss"):
        assert (tmp_path / "index" / path.relative_to(tmp_path / "fresh")).read_bytes() == path.read_bytes()


def test_too_many_changes_call_for_a_training(tmp_path: Path) -> None:
    before = old_index("IVF8,Flat") / "index"
    for number, (rows, how, changed) in enumerate(
        [
            (range(70, ROWS + 70), "refreshed", 70),
            (range(89, ROWS + 89), "refreshed", 89),
            (range(91, ROWS + 91), "rebuilt", 0),
            (range(92, ROWS + 92), "refreshed", 1),
        ]
    ):
        result = built(tmp_path / f"index{number}", store_of(tmp_path / f"store{number}", rows), refresh=str(before))
        refresh = result.manifest.about["refresh"]
        assert (refresh["how"], refresh["changed_since_training"]) == (how, changed)
        if how == "rebuilt":
            assert refresh["why"] == "91 of 300 rows changed since it was trained, more than 30%"
        before = tmp_path / f"index{number}"
    # Where nothing is trained, nothing wears off.
    store = store_of(tmp_path / "others", range(200, 500))
    result = built(tmp_path / "index", store, factory="Flat", refresh=str(old_index("Flat") / "index"))
    assert result.manifest.about["refresh"]["how"] == "refreshed"


def test_the_choice_of_old_stays_until_the_rows_call_for_another(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("st_ray.index.choose.EXACT_ROWS", 310)
    flags = {"factory": "auto", "memory_gib": 1.0}
    built(tmp_path / "chosen", store_of(tmp_path / "few", range(ROWS)), **flags)
    for number, (before, rows, factory, why) in enumerate(
        [
            (tmp_path / "chosen", 305, "Flat", None),
            (tmp_path / "chosen", 320, "IVF8,SQfp16", "it is Flat for cosine; IVF8,SQfp16 for cosine is the choice"),
            (old_index("IVF8,Flat") / "index", 320, "IVF8,Flat", None),
        ]
    ):
        store = store_of(tmp_path / f"store{number}", range(rows))
        about = built(tmp_path / f"index{number}", store, refresh=str(before), **flags).manifest.about
        assert about["factory"] == factory
        assert (about["refresh"]["why"] or "").startswith(why or "")
        assert (about["refresh"]["how"] == "refreshed") == (why is None)


def test_embeddings_that_are_gone_or_made_anew(tmp_path: Path) -> None:
    store, now = store_of(tmp_path / "store", range(ROWS)), store_of(tmp_path / "now", range(1, ROWS))
    built(tmp_path / "old", store)
    (tmp_path / "store").rename(tmp_path / "moved")
    refresh = built(tmp_path / "a", now, refresh=str(tmp_path / "old")).manifest.about["refresh"]
    assert "store has no manifest.json" in refresh["why"]
    store_of(tmp_path / "store", range(2, ROWS))
    refresh = built(tmp_path / "b", now, refresh=str(tmp_path / "old")).manifest.about["refresh"]
    assert "does not hold the embeddings that" in refresh["why"]


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    shutil.copytree(old_index("IVF8,Flat"), tmp_path / "old")
    now = store_of(tmp_path / "now", range(1, ROWS))
    part = tmp_path / "old" / "index" / "data" / "part-00001.faiss"
    data = bytearray(part.read_bytes())
    data[-100] ^= 1
    part.write_bytes(data)
    with pytest.raises(InputError, match=r"part-00001\.faiss is not what its manifest says"):
        built(tmp_path / "new", now, refresh=str(tmp_path / "old" / "index"))
    part.unlink()
    with pytest.raises(InputError, match=r"part-00001\.faiss is missing"):
        built(tmp_path / "new", now, refresh=str(tmp_path / "old" / "index"))
    with pytest.raises(InputError, match=r"now holds embeddings, not an index"):
        built(tmp_path / "other", now, refresh=now)
    with pytest.raises(ConfigError, match="--refresh names the output itself"):
        built(tmp_path / "other", now, refresh=f"{tmp_path}/other/")


def test_a_target_that_is_lost_calls_for_a_training(tmp_path: Path, monkeypatch: Any) -> None:
    def curve(recall: float) -> Curve:
        return Curve((Point(8, recall, 0.001),), 0.9, 8, recall >= 0.9, "")

    measured = iter([0.95, 0.92, 0.8, KeyboardInterrupt(), 0.8, 0.8])

    def measure(*_: Any) -> Curve:
        found = next(measured)
        if isinstance(found, BaseException):
            raise found
        return curve(found)

    monkeypatch.setattr(f"{STEPS}.steps.measure", measure)
    flags = {"target_recall": 0.9, "tune_rows": 5}
    built(tmp_path / "old", store_of(tmp_path / "store", range(ROWS)), **flags)
    now = store_of(tmp_path / "now", range(20, ROWS + 20))
    flags["refresh"] = str(tmp_path / "old")
    assert built(tmp_path / "good", now, **flags).manifest.about["refresh"]["how"] == "refreshed"
    with pytest.raises(KeyboardInterrupt):
        built(tmp_path / "bad", now, **flags)
    assert json.loads((tmp_path / "bad" / "refresh.json").read_text())["how"] == "rebuilt"
    # The interrupted run had trained and filled anew; what this one measures first is lost by the rebuilt index too.
    result = built(tmp_path / "bad", now, **flags)
    assert result.manifest.run["parts_done_before"] == 3
    refresh = result.manifest.about["refresh"]
    assert (
        refresh["why"]
        == "refreshed, it had a recall at 10 of 0.8000 at best; 0.9 was asked for, and it had reached 0.9500"
    )
    assert_is_filled_anew(tmp_path / "bad", (tmp_path / "bad" / "trained.faiss").read_bytes())
    assert (tmp_path / "bad" / "trained.faiss").read_bytes() != (tmp_path / "old" / "trained.faiss").read_bytes()
    # An index that never reached it is not built again for that.
    later = store_of(tmp_path / "later", range(21, ROWS + 21))
    flags["refresh"] = str(tmp_path / "bad")
    assert built(tmp_path / "worse", later, **flags).manifest.about["refresh"]["how"] == "refreshed"


def test_new_rows_that_are_not_finite_are_named(tmp_path: Path) -> None:
    broken = POOL[:ROWS].copy()
    broken[200, 3] = np.nan
    texts = [f"text {number}" for number in (*range(200), 999, *range(201, ROWS))]
    store = write_store(tmp_path / "store", broken, texts=texts)
    with pytest.raises(InputError, match="vector 200 holds NaN or infinity"):
        built(tmp_path / "index", store, refresh=str(old_index("IVF8,Flat") / "index"))
    assert StoredVectors.open(store).rows == ROWS
