"""A disk that fills up under a job: one error that says so, and the same command goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs._cli import run_job
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from tests.ray.corpora import assert_holds, part_bytes_of, texts_of, write_jsonl
from tests.stores import vectors, write_store
from tests.stubs import StubLoader

pytestmark = pytest.mark.usefixtures("local_ray")

ROWS = 300


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for some parts."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = _mount(place, "size=256k")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(place: Path, options: str) -> subprocess.CompletedProcess[str]:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def failed(run: Callable[[], None], disk: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `run` says on its way out; there is one error, and nothing half-written under a name that counts."""
    with pytest.raises(SystemExit) as ended:
        run()
    shown = capsys.readouterr()
    assert ended.value.code == 1
    assert shown.err.count("error: ") == shown.err.count("cannot write") == 1
    assert f"the disk at {disk} is full" in shown.err
    assert "-> make room there" in shown.err
    assert "done:" not in shown.out
    assert not (disk / "out" / "manifest.json").exists()
    return shown.err


def test_encoding_goes_on_when_there_is_room(disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", texts_of(ROWS))
    assert _mount(disk, "remount,size=128k").returncode == 0

    def run(output: Path) -> None:
        arguments = ["--input", source, "--model", "stub", "--output", str(output), "--id-column", "id"]
        arguments += ["--shard-rows", "10", "--actors", "1", "--cpus-per-actor", "1"]
        run_job(EncodeConfig, lambda config: encode(config, StubLoader()).folder, arguments)

    run(tmp_path / "undisturbed")
    expected = part_bytes_of(tmp_path / "undisturbed")
    capsys.readouterr()
    said = failed(lambda: run(disk / "out"), disk, capsys)
    assert "the same command again" in said
    left = part_bytes_of(disk / "out")
    assert 0 < len(left) < ROWS // 10
    assert left.items() <= expected.items()
    assert _mount(disk, "remount,size=16m").returncode == 0
    run(disk / "out")
    assert part_bytes_of(disk / "out") == expected
    assert_holds(disk / "out", texts_of(ROWS))


@pytest.mark.parametrize(
    ("rows", "flags"),
    [
        pytest.param(4000, {"part_rows": 400}, id="parts", marks=pytest.mark.slow),
        pytest.param(1500, {"merge": "memory", "part_rows": 400}, id="merged in memory"),
        pytest.param(1500, {"merge": "disk", "part_rows": 400}, id="merged on disk", marks=pytest.mark.slow),
    ],
)
def test_an_index_is_built_when_there_is_room(
    rows: int, flags: dict[str, Any], disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "store", vectors(rows), precision="int8")

    def run(output: Path) -> None:
        settings = {"factory": "IVF4,Flat", "target_recall": 0.0, **flags}
        config = BuildIndexConfig(embeddings=store, output=str(output), **settings)
        run_job(
            BuildIndexConfig, lambda _: build_index(config).folder, ["--embeddings", store, "--output", "elsewhere"]
        )

    run(tmp_path / "undisturbed")
    capsys.readouterr()
    failed(lambda: run(disk / "out"), disk, capsys)
    assert not list(disk.rglob(".*.tmp"))
    assert _mount(disk, "remount,size=16m").returncode == 0
    run(disk / "out")
    for path in [*(tmp_path / "undisturbed").glob("data/*"), *(tmp_path / "undisturbed").glob("*.faiss")]:
        assert (disk / "out" / path.relative_to(tmp_path / "undisturbed")).read_bytes() == path.read_bytes()
