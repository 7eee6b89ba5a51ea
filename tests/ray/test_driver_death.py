"""The driver is killed at each moment that matters; the same command then finishes the work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from st_ray.runtime.encode.job import encode
from st_ray.store.status import status_of
from tests.conftest import ROOT
from tests.ray.corpora import assert_holds, config_for, part_bytes_of, texts_of, write_jsonl
from tests.stubs import StubLoader, stub_embeddings

pytestmark = pytest.mark.usefixtures("local_ray")

ROWS = 60


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "c.jsonl", texts_of(ROWS))


@pytest.fixture(scope="module")
def undisturbed(local_ray: None, source: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    _finish(source, out)
    return part_bytes_of(out)


def _finish(source: str, out: Path) -> None:
    """The same job to its end, in this process."""
    encode(config_for(source, out), StubLoader())


def _drive(source: str, out: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.ray.drive", source, str(out), *options], cwd=ROOT)


def _wait_for(condition: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert driver.poll() is None, "the driver ended too early"
        assert time.monotonic() < deadline, "the driver never came so far"
        time.sleep(0.02)


def _commits(out: Path) -> int:
    return len(list(out.glob("commits/part-*.json")))


@pytest.mark.slow
def test_killed_before_the_first_commit(source: str, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    out, hold = tmp_path / "out", tmp_path / "hold"
    hold.touch()
    driver = _drive(source, out, "--hold", str(hold))
    _wait_for((out / "run.json").exists, driver)
    time.sleep(3)  # well into the start of the pipeline
    driver.kill()
    driver.wait()
    assert _commits(out) == 0
    hold.unlink()
    _finish(source, out)
    assert_holds(out, texts_of(ROWS))
    assert part_bytes_of(out) == undisturbed


def test_killed_between_commits(source: str, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    driver = _drive(source, out, "--seconds", "0.5")
    _wait_for(lambda: _commits(out) >= 2, driver)
    assert status_of(str(out)).state == "running"
    driver.kill()
    driver.wait()
    assert 2 <= _commits(out) < ROWS // 10
    died = status_of(str(out))
    assert died.state == "died" and died.stage is not None
    assert (died.stage.label, died.stage.shards, died.stage.rows) == ("encode", ROWS // 10, ROWS)
    assert 2 <= died.stage.shards_done <= _commits(out)
    assert died.stage.rows_done == 10 * died.stage.shards_done
    assert not (out / "manifest.json").exists()
    _finish(source, out)
    assert_holds(out, texts_of(ROWS))
    assert part_bytes_of(out) == undisturbed
    assert status_of(str(out)).state == "finished"


@pytest.mark.slow
def test_killed_before_the_manifest(source: str, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    driver = _drive(source, out, "--die-before-manifest")
    assert driver.wait(timeout=120) == -signal.SIGKILL
    assert _commits(out) == ROWS // 10
    assert not (out / "manifest.json").exists()
    _finish(source, out)
    assert_holds(out, texts_of(ROWS))
    assert part_bytes_of(out) == undisturbed


def test_the_stub_itself_is_repeatable() -> None:
    assert (stub_embeddings(texts_of(5)) == stub_embeddings(texts_of(5))).all()
