"""The reembed job on a real Ray: versions that are those of a full run, searches that keep to one, killed drivers."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs._cli import run_job
from st_ray.runtime import matching
from st_ray.runtime.encode import plan as planning
from st_ray.runtime.reembed.job import reembed
from st_ray.runtime.reembed.plan import plan_reembed
from st_ray.runtime.reembed.summary import plan_reembed_summary, reembed_summary
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.job import search
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.manifest import read_manifest
from st_ray.store.versions import Versions
from tests.conftest import ROOT
from tests.core.test_page import Page
from tests.ray.corpora import assert_holds, nightly_for, part_bytes_of, texts_of, write_jsonl
from tests.ray.test_search_job import rows_of, table_of
from tests.stores import write_store
from tests.stubs import StubLoader, stub_embeddings

pytestmark = pytest.mark.usefixtures("local_ray")

BEFORE = texts_of(60)
AFTER = ["new at the top", *BEFORE[:20], *BEFORE[23:50], "changed", *BEFORE[51:]]


def made(texts: list[str], source: Path, root: Path | str, **changes: Any) -> Any:
    return reembed(nightly_for(write_jsonl(source, texts), root, **changes), StubLoader())


def hits_of(index: str, output: Path, texts: list[str], queries: int = 7) -> list[tuple[str, int, str]]:
    """What `jobs.search` finds with every 9th text as a query, by flags as a user gives them."""
    asked = write_store(output.parent / f"{output.name}-queries", stub_embeddings(texts[::9][:queries]), prefix="q")
    argv = ["--queries", asked, "--index", index, "--top-k", "1", "--actors", "1", "--output", str(output)]
    run_job(SearchConfig, lambda config: search(config).folder, argv)
    return rows_of(table_of(output))


def closest(texts: list[str], queries: int = 7) -> list[tuple[str, int, str]]:
    """The text itself, or the first of its equals."""
    rows = [next(row for row, known in enumerate(texts) if known == text) for text in texts[::9][:queries]]
    return [(f"q{query}", 1, f"id-{row}") for query, row in enumerate(rows)]


def test_the_next_version_is_that_of_a_full_run_for_the_price_of_what_changed(tmp_path: Path) -> None:
    source, root = tmp_path / "c.jsonl", tmp_path / "root"
    first = made(BEFORE, source, root)
    second = made(AFTER, source, root, target_recall=0.95)
    assert_holds(root / Path(second.folder).name / "embeddings", AFTER)
    full = made(AFTER, source, tmp_path / "full", index="none")
    assert part_bytes_of(Path(second.folder) / "embeddings") == part_bytes_of(Path(full.folder) / "embeddings")
    run = second.manifest.run
    assert (second.manifest.rows, run["reused"], run["encoded"], run["gone"]) == (58, 56, 2, 4)
    assert second.manifest.about["index"]["curve"]["points"][0]["recall"] == 1.0
    assert read_manifest(f"{second.folder}/index").about["embeddings"] == f"{second.folder}/embeddings"
    assert hits_of(f"{root}/latest/index", tmp_path / "hits", AFTER) == closest(AFTER)
    refresh = second.manifest.about["index"]["refresh"]
    assert (refresh["how"], refresh["kept"], refresh["added"], refresh["removed"]) == ("refreshed", 56, 2, 4)
    shown = reembed_summary(second)
    for part in (
        f"56 rows from {Path(first.folder).name}, 2 encoded, 4 of its rows gone",
        "56 kept, 2 added, 4 removed",
        "1.0000 at 5",
        f"none since {Path(first.folder).name}",
        f"{second.folder}/report.html",
    ):
        assert part in shown
    for page in Page(Path(second.folder, "report.html").read_bytes()).attributes("a"):
        assert Path(second.folder, str(page["href"])).is_file()


def test_a_version_of_other_settings_is_compared_with_the_one_before(tmp_path: Path) -> None:
    source, root = tmp_path / "c.jsonl", tmp_path / "root"
    first = made(BEFORE, source, root, index="none")
    second = made(AFTER, source, root, index="none", normalize=True)
    drift = second.manifest.about["drift"]
    assert (drift["how"], drift["before"], drift["texts"]) == ("compared", Path(first.folder).name, 56)
    assert drift["movement"]["percentiles"]["min"] == pytest.approx(1)
    assert drift["overlap"]["mean"] == 1.0
    assert "nearest neighbours are the same" in reembed_summary(second)
    assert Page(Path(second.folder, "report.html").read_bytes()).texts("h2")[:4] == [
        *("What it consists of", "History", "Movement", "Neighbours"),
    ]


def test_a_search_keeps_to_the_version_that_it_began_with(tmp_path: Path) -> None:
    source, root = tmp_path / "c.jsonl", tmp_path / "root"
    first = made(BEFORE, source, root)
    queries = write_store(tmp_path / "queries", stub_embeddings(AFTER[:1]), prefix="q", parts=1)
    argv = ["--queries", queries, "--index", f"{root}/latest/index", "--top-k", "60", "--actors", "1"]

    def job(config: SearchConfig) -> str:
        """The night's run ends just before the search opens anything."""
        made(AFTER, source, root)
        return search(config).folder

    run_job(SearchConfig, job, [*argv, "--output", str(tmp_path / "hits")])
    found = table_of(tmp_path / "hits")["corpus_id"].to_pylist()
    assert sorted(found) == sorted(f"id-{row}" for row in range(60))
    about = read_manifest(str(tmp_path / "hits")).about
    assert (about["searched"], about["embeddings"]) == (f"{first.folder}/index", f"{first.folder}/embeddings")


def test_on_an_object_store(s3: str, tmp_path: Path) -> None:
    root = f"{s3}/nightly/root"
    for texts in (BEFORE, AFTER, AFTER[:-1]):
        result = made(texts, tmp_path / "c.jsonl", root)
    versions = Versions(root)
    assert versions.latest() == result.folder.rpartition("/")[2]
    assert fs.read_bytes(f"{root}/latest").decode().strip() == versions.latest()
    assert len(versions.names()) == 2
    assert sorted(fs.list_names(root)) == ["latest", *versions.names()]
    store = StoredVectors.open(f"{result.folder}/embeddings")
    np.testing.assert_array_equal(store.take(np.arange(store.rows)), stub_embeddings(AFTER[:-1]))
    assert hits_of(f"{root}/latest/index", tmp_path / "hits", AFTER[:-1]) == closest(AFTER[:-1])


def test_no_ray_is_started_where_nothing_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, root = tmp_path / "c.jsonl", tmp_path / "root"
    made(BEFORE, source, root, index="none")
    monkeypatch.setattr("st_ray.runtime.encode.job.job_session", None)
    again = reembed(nightly_for(str(source), root, index="none", if_changed=True), StubLoader())
    assert again.already_complete


def test_the_plan_tells_what_would_be_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(matching, "BUCKET_ROWS", 15)
    source, root = tmp_path / "c.jsonl", tmp_path / "root"
    made(BEFORE, source, root, index="none")
    before = sorted(tmp_path.rglob("*"))
    write_jsonl(source, AFTER)
    plans = {}
    for name, changes in (("same", {}), ("other", {"normalize": True})):
        config = nightly_for(str(source), root, index="none", plan=True, price_per_hour=3.0, **changes)
        plans[name] = plan_reembed(config, StubLoader())
    assert sorted(tmp_path.rglob("*")) == before
    same, other = (plans[name].encoding for name in ("same", "other"))
    assert (same.reused, same.encoded, same.gone) == (56, 2, 4)
    assert (other.reused, other.encoded, other.gone) == (0, 58, 0)
    assert other.tokens == pytest.approx(29 * same.tokens)
    shown = plan_reembed_summary(plans["other"])
    assert "all, since normalize: False before, True now" in shown
    assert "cost" in shown
    assert "56 rows" in plan_reembed_summary(plans["same"])


@pytest.mark.slow
@pytest.mark.parametrize("step", ["index", "pointer", "removal"])
def test_a_driver_that_is_killed(step: str, tmp_path: Path) -> None:
    source, root = tmp_path / "c.jsonl", tmp_path / "root"
    for texts in (BEFORE, [*BEFORE, "one more"]):
        made(texts, source, root)
    versions = Versions(str(root))
    before = versions.latest()
    write_jsonl(source, AFTER)
    command = [sys.executable, "-m", "tests.ray.drive_reembed", str(source), str(root), step]
    assert subprocess.run(command, cwd=ROOT, timeout=120, check=False).returncode == -signal.SIGKILL
    assert (versions.latest() == before) == (step != "removal")
    result = reembed(nightly_for(str(source), root), StubLoader())
    assert result.manifest.run["resumed"] == (step != "removal")
    assert_holds(Path(result.folder) / "embeddings", AFTER)
    assert versions.latest() == Path(result.folder).name
    assert sorted(path.name for path in root.iterdir()) == ["latest", *versions.names()]
    assert len(versions.names()) == 2
