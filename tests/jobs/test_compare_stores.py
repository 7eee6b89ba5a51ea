"""The comparison as a job: flags, files, the second run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs._cli import parse
from jobs.compare_stores import _run
from st_ray.core.errors import ConfigError, InputError, OutputError
from st_ray.runtime.compare_stores.config import CompareStoresConfig
from st_ray.runtime.compare_stores.job import compare_stores
from st_ray.store.manifest import read_manifest
from tests.conftest import ROOT
from tests.stores import vectors, write_store


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, str]:
    """`--old`, `--new` and `--output`."""
    embeddings = vectors(120)
    texts = [f"text <{row}>" for row in range(125)]
    old = write_store(tmp_path / "old", embeddings, texts=texts[:120], model="m", prompt="")
    new = write_store(tmp_path / "new", embeddings + 0.01, texts=texts[5:], model="m", prompt="passage: ")
    return {"old": old, "new": new, "output": str(tmp_path / "out")}


def config_of(stores: dict[str, str], **changes: Any) -> CompareStoresConfig:
    return CompareStoresConfig(**{**stores, "sample": 50, **changes})


def test_report_summary_and_page(stores: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    out = Path(stores["output"])
    assert _run(config_of(stores)) == str(out)
    shown = capsys.readouterr().out
    for text in (
        "compare_stores: complete\n",
        "115 unchanged, 5 added, 5 gone",
        "prompt: '' before, 'passage: ' now",
        "0 identical; by 115 of 115 texts",
        "of 50 texts among 115, by cosine",
        "120 rows of the old store to encode, how long is not known",
    ):
        assert text in shown
    assert {path.name for path in out.iterdir()} == {"run.json", "manifest.json", "report.json", "report.html"}
    manifest = read_manifest(str(out))
    report = json.loads((out / "report.json").read_text())
    assert manifest.kind == "drift" and manifest.about == report
    assert report["movement"]["texts"] == 115 and report["overlap"]["queries"] == 50
    page = (out / "report.html").read_text()
    for text in ("<h2>Movement</h2>", "<h2>Neighbours</h2>", "<h2>Moved most</h2>", "<h2>Lineage</h2>"):
        assert text in page
    assert page.count('<figure class="chart">') == 3  # with the seconds of the run
    assert _run(config_of(stores)) == str(out)
    assert "complete already, nothing to do" in capsys.readouterr().out
    with pytest.raises(OutputError, match="sample: 50 before, 51 now"):
        compare_stores(config_of(stores, sample=51))
    assert not compare_stores(config_of(stores, sample=51, overwrite=True)).already_complete


def test_stores_without_movement_or_overlap_have_a_page_too(stores: dict[str, str], tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", vectors(3, 8), texts=["x", "y", "text <7>"], model="n")
    compare_stores(config_of(stores, new=other))
    page = Path(stores["output"], "report.html").read_text()
    assert "not defined: the stores are of different models" in page and page.count("<figure") == 1
    assert "the stores have fewer than two texts in common" in page


def test_what_is_no_store_is_named(stores: dict[str, str], tmp_path: Path) -> None:
    for flag in ("old", "new"):
        with pytest.raises(InputError, match=r"nowhere has no manifest\.json"):
            compare_stores(config_of(stores, **{flag: str(tmp_path / "nowhere")}))
    part = next(Path(stores["old"], "data").iterdir())
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(InputError, match=f"cannot read .*{part.name}"):
        compare_stores(config_of(stores))
    assert not list(Path(stores["output"]).iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample": 0}, "--sample 0 must be 1 or more"),
        ({"top_k": 0}, "--top-k 0"),
        ({"corpus_rows": 1}, "--corpus-rows 1 must be 2 or more"),
        ({"seed": -1}, "--seed -1"),
        ({"price_per_hour": -1.0}, "--price-per-hour -1 is negative"),
        ({"output": "a/"}, "--old names the output itself"),
    ],
)
def test_bad_flags(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of({"old": "a", "new": "b", "output": "o"}, **changes)
    assert parse(CompareStoresConfig, ["--old", "a", "--new", "b", "--output", "o"]).corpus_rows == 100_000


def test_ray_is_not_loaded(tmp_path: Path) -> None:
    script = (
        "import sys; from jobs.compare_stores import main\n"
        "try: main()\nfinally: assert 'st_ray.search.drift' in sys.modules and 'ray' not in sys.modules"
    )
    flags = ["--old", "none", "--new", "none", "--output", str(tmp_path / "out")]
    found = subprocess.run([sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("error: none has no manifest.json") and "Traceback" not in found.stderr
