"""What watches a run: metrics as Prometheus reads them, and lines as a program reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs._cli import run_job
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.store.manifest import Manifest, read_manifest
from tests.conftest import ROOT
from tests.ray.corpora import texts_of, write_jsonl
from tests.ray.heads import free_port, started_head, wait_for_port
from tests.ray.scrape import Counted, counted, scrape
from tests.stubs import StubLoader

LINE = {"ts", "level", "event", "job", "message"}


@dataclass(frozen=True)
class Cluster:
    """A head, as `ray start` makes one."""

    address: str
    metrics: int

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The job, as a user starts it there: without the settings that tests have for Rays of their own."""
        environment = {name: value for name, value in os.environ.items() if "report_interval" not in name}
        command = [sys.executable, "-m", "tests.ray.stub_job", "--address", self.address, *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    port, metrics = free_port(), free_port()
    options = ["--port", str(port), "--metrics-export-port", str(metrics), "--num-cpus", "2"]
    environment = {"RAY_metrics_report_interval_ms": "10000"}
    with started_head(tmp_path_factory.mktemp("r"), *options, "--include-dashboard=false", environment=environment):
        wait_for_port(port)
        wait_for_port(metrics)
        yield Cluster(f"127.0.0.1:{port}", metrics)


def lines_of(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line.keys() >= LINE and line["job"] == "encode" for line in lines)
    return lines


def scraped(cluster: Cluster, shards: int, **labels: str) -> Counted:
    """The metrics once they have come: a driver hands the last ones over when it ends."""
    deadline = time.monotonic() + 20
    while counted(found := scrape(cluster.metrics), "ray_st_ray_shards_total", **labels) < shards:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def assert_agree(found: Counted, manifest: Manifest, **labels: str) -> None:
    """What was counted is what the manifest has."""

    def total(figure: str) -> float:
        return sum(entry.figures[figure] for entry in manifest.entries)

    assert counted(found, "ray_st_ray_rows_total", **labels) == pytest.approx(manifest.rows)
    assert counted(found, "ray_st_ray_tokens_total", **labels) == total("tokens")
    assert counted(found, "ray_st_ray_places_total", **labels) == total("places")
    assert counted(found, "ray_st_ray_reused_rows_total", **labels) == total("reused")
    assert counted(found, "ray_st_ray_shards_total", **labels) == len(manifest.entries)
    for reason, rows in manifest.dropped.items():
        assert counted(found, "ray_st_ray_rejected_rows_total", reason=reason, **labels) == rows
    for step in ("read and tokenize", "encode", "make part", "write"):
        assert counted(found, "ray_st_ray_shard_seconds_count", step=step, **labels) == len(manifest.entries)
    model = counted(found, "ray_st_ray_model_seconds_total", **labels)
    assert model == pytest.approx(manifest.run["model_seconds"], abs=1e-3)


@pytest.mark.slow
def test_metrics_and_lines_agree_with_the_manifest(cluster: Cluster, tmp_path: Path) -> None:
    texts: list[Any] = texts_of(95)
    texts[4], texts[17], texts[60] = None, 12, None
    source, old, new = write_jsonl(tmp_path / "c.jsonl", texts), tmp_path / "old", tmp_path / "new"
    flags = ["--input", source, "--model", "stub", "--id-column", "id", "--shard-rows", 10, "--actors", 1]
    flags += ["--cpus-per-actor", 1, "--on-bad-row", "skip", "--log-format", "json"]
    ended = cluster.run(*flags, "--output", old)
    assert ended.returncode == 0, ended.stderr
    manifest = read_manifest(str(old))
    assert manifest.rows == 92
    labels = {"job_name": "encode", "output": "old", "stage": "encode"}
    found = scraped(cluster, 10, **labels)
    assert_agree(found, manifest, **labels)
    assert counted(found, "ray_st_ray_batches_total", **labels) == 10
    assert 0 < counted(found, "ray_st_ray_model_idle_seconds_total", **labels) < manifest.run["seconds"]
    assert counted(found, "ray_st_ray_rejected_rows_total", **labels) == 3

    progress = [line for line in lines_of(ended.stderr) if line["event"] == "progress"]
    assert (progress[-1]["shards"], progress[-1]["shards_total"]) == (10, 10)
    assert (progress[-1]["rows"], progress[-1]["rows_total"]) == (92, 95)
    summary, done = lines_of(ended.stdout)
    written = json.loads((old / "manifest.json").read_text())
    assert {name: summary[name] for name in ("totals", "dropped", "run")} == {
        name: written[name] for name in ("totals", "dropped", "run")
    }
    assert (done["event"], done["output"], done["status"]) == ("done", str(old), 0)

    texts[3], texts[50] = "something new", "and this"
    write_jsonl(tmp_path / "c.jsonl", texts)
    ended = cluster.run(*flags, "--output", new, "--reuse", old)
    assert ended.returncode == 0, ended.stderr
    labels["output"] = "new"
    found = scraped(cluster, 10, **labels)
    assert_agree(found, read_manifest(str(new)), **labels)
    assert counted(found, "ray_st_ray_reused_rows_total", **labels) == 90


@pytest.mark.usefixtures("local_ray")
def test_a_shard_that_fails_is_told_at_once_and_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", texts_of(30))
    flags = ["--input", source, "--model", "stub", "--output", str(tmp_path / "out"), "--shard-rows", "10"]
    flags += ["--text-columns", "text", "--actors", "1", "--cpus-per-actor", "1", "--log-format", "json"]
    with pytest.raises(SystemExit):
        run_job(EncodeConfig, lambda config: encode(config, StubLoader(nan=texts_of(30)[12])).folder, flags)
    captured = capsys.readouterr()
    assert captured.out == ""
    *_, error = lines = lines_of(captured.err)
    [failed] = [line for line in lines if line["event"] == "shard_failed"]
    assert (failed["shard"], failed["level"], failed["error"]) == ("part-00001.parquet", "warning", "ShardError")
    assert "is not finite" in failed["message"]
    assert (error["event"], error["level"], error["status"]) == ("error", "error", 1)
    assert "1 of 3 shards are not done" in error["message"]
    assert "run the same command again" in error["remedy"]
