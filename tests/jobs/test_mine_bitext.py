"""The bitext job before Ray starts: flags, and stores that do not fit together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import ray

from jobs._cli import parse
from st_ray.core.errors import ConfigError, InputError, OutputError, StRayError
from st_ray.mining.bitext import MARGINS, RETRIEVALS
from st_ray.runtime.mining.bitext.config import Margin, MineBitextConfig, Retrieval
from st_ray.runtime.mining.bitext.job import mine_bitext
from tests.conftest import ROOT
from tests.stores import vectors, write_store


def test_flags() -> None:
    flags = ["--source", "a", "--target", "b", "--output", "o", "--margin", "distance", "--threshold", "0.1"]
    config = parse(MineBitextConfig, [*flags, "--retrieval", "intersection", "--keep-text"])
    assert (config.source, config.target, config.neighbors, config.keep_text) == ("a", "b", 4, True)
    assert (config.margin, config.retrieval, config.threshold) == ("distance", "intersection", 0.1)
    assert (get_args(Margin), get_args(Retrieval)) == (MARGINS, RETRIEVALS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neighbors": 0}, "--neighbors 0 must be 1 or more"),
        ({"shard_rows": 0}, "--shard-rows 0 must be 1 or more"),
        ({"keep_gib": -1}, "--keep-gib -1 must be 0 or more"),
        ({"threshold": float("nan")}, "--threshold nan is no margin"),
        ({"actors": "some"}, "--actors 'some' is not a number"),
    ],
)
def test_flags_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MineBitextConfig(**{"source": "a", "target": "b", "output": "o", **changes})


def test_stores_are_checked_before_ray_starts(tmp_path: Path) -> None:
    rows = vectors(20)
    good = write_store(tmp_path / "good", rows, model="a")
    short = write_store(tmp_path / "short", rows[:, :5])
    other = write_store(tmp_path / "other", rows, model="b")
    bits = write_store(tmp_path / "bits", rows, precision="binary")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    cases: list[tuple[str, str, dict[str, Any], type[StRayError], str]] = [
        (good, short, {}, InputError, "dimension: 16 .*, 5 of"),
        (good, other, {}, InputError, "model: 'a' .*, 'b' of"),
        (bits, good, {}, InputError, "bits holds bits"),
        (good, bits, {}, InputError, "bits holds bits"),
        (good, good, {"keep_text": True}, InputError, r"good/data/part-00000\.parquet has no column text"),
        (str(tmp_path / "nowhere"), good, {}, InputError, r"nowhere has no manifest\.json"),
        (good, str(tmp_path / "foreign"), {}, InputError, r"foreign has no manifest\.json"),
        (good, good, {"output": str(tmp_path / "foreign")}, OutputError, "was not made by st-ray"),
        (good, good, {"output": good, "overwrite": True}, OutputError, "good holds embeddings, this job makes pairs"),
    ]
    running = ray.is_initialized()
    for source, target, changes, kind, message in cases:
        settings = {"source": source, "target": target, "output": str(tmp_path / "out"), **changes}
        with pytest.raises(kind, match=message) as error:
            mine_bitext(MineBitextConfig(**settings))
        assert error.value.remedy
    assert ray.is_initialized() == running
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "good" / "manifest.json").exists()


def test_bad_flags_do_not_even_load_ray() -> None:
    script = (
        "import sys; from jobs.mine_bitext import main\n"
        "try: main()\nfinally: assert not {'ray', 'torch'} & set(sys.modules)"
    )
    flags = ["--source", "a", "--target", "b", "--output", "o", "--neighbors", "0"]
    done = subprocess.run([sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "AssertionError" in done.stderr) == (2, False)
    assert done.stderr.startswith("error: --neighbors 0 must be 1 or more")
