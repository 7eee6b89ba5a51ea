"""The page of a version: what it says, what it leads to, and which versions it lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from st_ray.runtime.reembed.config import ReembedConfig
from st_ray.runtime.reembed.page import version_page, write_page
from st_ray.search.movement import BINS
from st_ray.store import fs
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.versions import KIND, Versions
from tests.core.test_page import Page

ONE, TWO, THREE, FOUR = (f"v-2026112{day}T080906Z" for day in (1, 2, 3, 4))
INDEX = {
    "factory": "Flat",
    "bytes": 1024,
    "recall_at": 10,
    "target_recall": 0.95,
    "refresh": None,
    "curve": {
        "points": [{"parameter": None, "recall": 0.9871, "seconds_per_query": 0.001}],
        "target": 0.95,
        "chosen": None,
        "reached": True,
        "advice": "",
    },
}
COMPARED = {
    "how": "compared",
    "before": TWO,
    "texts": 5,
    "compared_as": "the stored floats",
    "unmoved": "",
    "similarities": ["cosine", "cosine"],
    "movement": {
        "texts": 5,
        "identical": 1,
        "mean": 0.9,
        "percentiles": {"min": 0.8},
        "low": 0.8,
        "counts": [1] * BINS,
        "max_difference": 0.5,
    },
    "overlap": {"queries": 5, "corpus": 5, "top_k": 4, "mean": 0.75, "nearest": 1.0, "counts": [0, 0, 1, 1, 3]},
}


def config_of(root: Path | str, **changes: Any) -> ReembedConfig:
    return ReembedConfig(input=("corpus.jsonl",), model="m", output=str(root), **changes)


def version(rows: int = 7, **about: Any) -> Manifest:
    found = {"model": "m", "differs": [], "index": INDEX, "drift": {"how": "not compared", "before": None, "why": "x"}}
    seconds = {"input": 0.1, "Ray": 4.5, "embeddings": 4.6}
    run = {"reused": rows - 1, "encoded": 1, "gone": 2, "left_out": 3, "resumed": False, "seconds": seconds}
    return Manifest(KIND, {"reuse": TWO}, (ShardEntry("embeddings", rows, 0, 1024, "d"),), found | about, run)


def test_what_was_made_how_and_how_far_it_is_from_the_one_before() -> None:
    page = version_page(config_of("nightly", keep=4), THREE, version(drift=COMPARED), [(THREE, version())])
    text = page.decode()
    for part in (
        f"<h1>Version {THREE}</h1>",
        f"6 rows from {TWO}, 1 encoded, 2 of its rows gone",
        "3 rows, listed in embeddings/rejects.parquet",
        "Flat, 1.0 KiB, built",
        "0.9871 at 10",
        f"since {TWO}: moved to a cosine of 0.900000 on average, 0.800000 the least, by 5 texts; 75.0% of",
        "<pre>python -m jobs.reembed ",
        " --keep 4</pre>",
    ):
        assert part in text
    titles = ["What it consists of", "History", "Movement", "Neighbours", "This run", "Run it again", "Lineage"]
    assert Page(page).texts("h2")[:-1] == titles
    assert Page(page).texts("a") == ["embeddings", "index"]


def test_without_an_index_or_a_version_before() -> None:
    page = Page(version_page(config_of("nightly"), ONE, version(index=None), [(ONE, version(index=None))]))
    assert page.texts("a") == ["embeddings"]
    assert not {"Movement", "Neighbours"} & set(page.texts("h2"))
    (row,) = [row for row in rows_of(page) if row[0] == ONE]
    assert row == [ONE, "7", "1", "–", "1.0\u00a0KiB"]


def rows_of(page: Page) -> list[list[str]]:
    """Of tables, five cells each."""
    cells = [("".join(text).strip(), tag) for tag, _, text in page.elements if tag in ("th", "td")]
    starts = [at for at, (text, tag) in enumerate(cells) if text.startswith("v-2") and tag == "th"]
    return [[text for text, _ in cells[at : at + 5]] for at in starts]


def test_the_versions_that_stay_are_listed(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path))
    for rows, name in enumerate((ONE, TWO, THREE)):
        output = versions.output(name)
        output.begin({})
        output.finish(version(rows + 1))
    fs.write_atomic(versions.folder(TWO, "manifest.json"), b"{")
    versions.output(FOUR).begin({})
    write_page(config_of(tmp_path, keep=3), versions, FOUR, version(9))
    page = Page((tmp_path / FOUR / "report.html").read_bytes())
    assert [row[:2] for row in rows_of(page)] == [[FOUR, "9"], [THREE, "3"], [TWO, "–"]]
    assert not versions.is_whole(FOUR)
