"""The community job before Ray starts: flags, inputs, and its parts as others read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from jobs._cli import parse
from st_ray.core.errors import ConfigError, InputError, OutputError, StRayError
from st_ray.runtime.mining.communities.config import DetectCommunitiesConfig
from st_ray.runtime.mining.communities.job import detect_communities
from st_ray.store.communities import KIND, communities_table, open_communities, read_communities
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part
from tests.conftest import ROOT
from tests.stores import vectors, write_store


def test_flags() -> None:
    config = parse(DetectCommunitiesConfig, ["--embeddings", "e", "--output", "o"])
    assert (config.threshold, config.min_community_size, config.keep_text) == (0.75, 10, False)
    flags = ["--threshold", "-0.5", "--min-community-size", "2", "--keep-text"]
    config = parse(DetectCommunitiesConfig, ["--embeddings", "e", "--output", "o", *flags])
    assert (config.threshold, config.min_community_size, config.keep_text) == (-0.5, 2, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.5}, r"--threshold 1\.5 is not a cosine"),
        ({"threshold": float("nan")}, "--threshold nan is not a cosine"),
        ({"min_community_size": 0}, "--min-community-size 0 must be 1 or more"),
        ({"actors": "some"}, "--actors 'some' is not a number"),
    ],
)
def test_flags_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DetectCommunitiesConfig(**{"embeddings": "e", "output": "o", **changes})


def test_inputs_are_checked_before_ray_starts(tmp_path: Path) -> None:
    bits = write_store(tmp_path / "bits", vectors(20), precision="binary")
    floats = write_store(tmp_path / "floats", vectors(20))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    cases: list[tuple[dict[str, Any], type[StRayError], str]] = [
        ({"embeddings": bits}, InputError, r"bits holds bits \(binary\), which have no cosine"),
        ({"embeddings": str(tmp_path / "nowhere")}, InputError, r"nowhere has no manifest\.json"),
        ({"embeddings": str(tmp_path / "foreign")}, InputError, r"foreign has no manifest\.json"),
        ({"keep_text": True}, InputError, "floats holds no texts"),
        ({"output": str(tmp_path / "foreign")}, OutputError, "was not made by st-ray"),
        ({"output": floats}, OutputError, "holds embeddings, this job makes communities"),
    ]
    running = ray.is_initialized()
    for changes, kind, message in cases:
        settings = {"embeddings": floats, "output": str(tmp_path / "out"), "overwrite": True, **changes}
        with pytest.raises(kind, match=message):
            detect_communities(DetectCommunitiesConfig(**settings))
    assert ray.is_initialized() == running
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "floats" / "manifest.json").exists()


def test_bad_flags_do_not_even_load_ray() -> None:
    script = (
        "import sys; from jobs.detect_communities import main\n"
        "try: main()\nfinally: assert not {'ray', 'torch'} & set(sys.modules)"
    )
    flags = ["--embeddings", "a", "--output", "o", "--threshold", "1.5"]
    done = subprocess.run([sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "AssertionError" in done.stderr) == (2, False)
    assert done.stderr.startswith("error: --threshold 1.5 is not a cosine")


def test_parts_are_read_as_they_were_written(tmp_path: Path) -> None:
    members = pa.table(
        {
            "community": [0, 0],
            "rank": pa.array([1, 2], pa.int32()),
            "row": [7, 2],
            "score": pa.array([1.0, 0.5], pa.float32()),
        }
    )
    table = communities_table(members, pa.table({"id": ["h", "c"], "text": ["t", "u"]}))
    assert table.schema == pa.schema(
        {
            "community": pa.int64(),
            "rank": pa.int32(),
            "id": pa.string(),
            "row": pa.int64(),
            "score": pa.float32(),
            "text": pa.string(),
        }
    )
    output = OutputFolder(str(tmp_path / "out"), KIND)
    entry = output.begin({}).commit("part-00000.parquet", Part(parquet_bytes(table), 2, 0))
    output.finish(Manifest(KIND, {}, (entry,)))
    assert read_communities(output.folder, open_communities(output.folder).entries[0]) == table
    part = tmp_path / "out" / "data" / "part-00000.parquet"
    part.write_bytes(parquet_bytes(table.slice(1)))
    with pytest.raises(InputError, match=r"part-00000\.parquet has 1 rows, its manifest says 2"):
        read_communities(output.folder, entry)
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"part-00000\.parquet"):
        read_communities(output.folder, entry)
    with pytest.raises(InputError, match="holds embeddings, not communities"):
        open_communities(write_store(tmp_path / "store", vectors(20)))
