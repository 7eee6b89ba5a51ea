"""The fusion job before Ray starts: flags, inputs, and how hits are shared out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs._cli import parse
from st_ray.core.errors import ConfigError, InputError, OutputError, StRayError
from st_ray.runtime.fuse import job
from st_ray.runtime.fuse.config import FuseConfig
from st_ray.runtime.fuse.job import fuse
from st_ray.runtime.fuse.staging import read_bucket, split_bytes
from st_ray.runtime.fuse.steps import group_parts
from st_ray.runtime.resources import Node
from st_ray.search.fusion import Fusion
from st_ray.store.hit_sets import HitsPart
from tests.conftest import ROOT
from tests.rankings import Rankings, rankings_of, table_of, write_hits

RANKINGS: Rankings = {f"{n}": [("1", 1.0), ("2", 0.5)] for n in range(40)}


def config_of(*arguments: str) -> FuseConfig:
    return parse(FuseConfig, ["--hits", "a", "b", "--output", "o", *arguments])


def test_flags() -> None:
    assert config_of().fusion() == Fusion("rrf", (1.0, 1.0), 60, "min-max", None)
    flags = ["--method", "weighted", "--weights", "0.7", "0.3", "--normalize", "none", "--top-k", "5"]
    assert config_of(*flags).fusion() == Fusion("weighted", (0.7, 0.3), 60, "none", 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hits": ("a",)}, "--hits names 1 set"),
        ({"weights": (1.0,)}, "--weights gives 1 for 2 sets"),
        ({"weights": (1.0, -0.5)}, r"--weights -0\.5 must be more than 0"),
        ({"weights": (1.0, float("nan"))}, "--weights nan must be more than 0"),
        ({"rrf_k": -1}, "--rrf-k -1 must be 0 or more"),
        ({"top_k": 0}, "--top-k 0 must be 1 or more"),
        ({"normalize": "none"}, "--normalize is for --method weighted"),
        ({"method": "weighted", "rrf_k": 10}, "--rrf-k is for --method rrf"),
        ({"actors": "some"}, "--actors 'some' is not a number"),
    ],
)
def test_flags_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FuseConfig(**{"hits": ("a", "b"), "output": "o", **changes})


def test_inputs_are_checked_before_ray_starts(tmp_path: Path) -> None:
    one, other = (write_hits(tmp_path / name, RANKINGS) for name in ("one", "other"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    cases: list[tuple[tuple[str, ...], str, type[StRayError], str]] = [
        ((one, one + "/"), "out", ConfigError, "one/ is named by --hits and again by --hits"),
        ((one, other), "other", ConfigError, "other is named by --output and again by --hits"),
        ((one, str(tmp_path / "nowhere")), "out", InputError, "nowhere: no such file"),
        ((one, write_hits(tmp_path / "empty", {"q": []})), "out", InputError, "empty holds no hits"),
        ((one, other), "foreign", OutputError, "was not made by st-ray"),
    ]
    running = ray.is_initialized()
    for hits, output, kind, message in cases:
        with pytest.raises(kind, match=message):
            fuse(FuseConfig(hits=hits, output=str(tmp_path / output), overwrite=True))
    assert ray.is_initialized() == running
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "other" / "manifest.json").exists()


def test_bad_flags_do_not_even_load_ray() -> None:
    script = (
        "import sys; from jobs.fuse import main\ntry: main()\nfinally: assert not {'ray', 'torch'} & set(sys.modules)"
    )
    flags = ["--hits", "a", "b", "--output", "o", "--weights", "1"]
    done = subprocess.run([sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "AssertionError" in done.stderr) == (2, False)
    assert done.stderr.startswith("error: --weights gives 1 for 2 sets")


def test_equal_ids_of_any_type_meet_in_one_bucket(tmp_path: Path) -> None:
    numbers = {int(query): [(int(document), score) for document, score in hits] for query, hits in RANKINGS.items()}
    buckets = []
    for name, rankings in (("strings", RANKINGS), ("numbers", numbers)):
        url = tmp_path / f"{name}.arrow"
        url.write_bytes(split_bytes(table_of(rankings), 7))
        buckets.append([rankings_of(read_bucket(str(url), bucket)) for bucket in range(7)])
    strings, integers = buckets
    assert [[str(query) for query in bucket] for bucket in integers] == [list(bucket) for bucket in strings]
    assert all(1 <= len(bucket) < 20 for bucket in strings)
    assert {query: hits for bucket in strings for query, hits in bucket.items()} == RANKINGS
    url.write_bytes(url.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"numbers\.arrow: cannot be read"):
        read_bucket(str(url), 0)


def test_small_parts_are_split_together() -> None:
    parts = [HitsPart(f"{n}", rows) for n, rows in enumerate([3, 4, 0, 5, 20, 1, 9])]
    assert [[part.rows for part in group] for group in group_parts(parts, 10)] == [[3, 4, 0], [5], [20], [1, 9]]


@pytest.mark.parametrize("grows", [False, True])
def test_machines_may_still_come(grows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "cluster_nodes", lambda: [Node(2, 0)])
    monkeypatch.setattr(job, "cluster_can_grow", lambda: grows)
    run: Any = job._Run(config_of("--actors", "1:16", "--cpus-per-actor", "1"), (), 1, None, None)  # type: ignore[arg-type]
    stage = run._stage(range(40), label="fuse", rows=[1] * 40, finish=print)
    assert stage.writers == (16 if grows else 1)
