"""A job on a cluster that has no machine but its head: machines come, it is done, machines leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from st_ray.core.errors import ResourceError
from st_ray.runtime.config import JobConfig
from st_ray.runtime.joining import job_session
from st_ray.runtime.resources import cluster_can_grow
from tests.conftest import ROOT
from tests.ray.corpora import assert_holds, texts_of, write_jsonl
from tests.ray.heads import autoscaling_head

ROWS = 400


def _workers(address: str) -> int:
    """Machines beside the head, as the autoscaler sees them."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(address)
    return sum(node.ray_node_type_name == "cpu" for node in (*status.active_nodes, *status.idle_nodes))


@pytest.mark.slow
def test_machines_come_for_a_job_and_leave_after_it(tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "c.jsonl", texts_of(ROWS)), tmp_path / "out"
    with autoscaling_head(tmp_path, {"cpu": {"resources": {"CPU": 2}, "max_workers": 4}}) as address:
        assert _workers(address) == 0
        command = [sys.executable, "-m", "tests.ray.drive", source, str(out), "--actors", "0:4", "--seconds", "2"]
        environment = {**os.environ, "RAY_ADDRESS": address}
        job = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        most = 0
        while job.poll() is None:
            most = max(most, _workers(address))
            time.sleep(0.5)
        assert job.stderr is not None
        messages = job.stderr.read()
        assert job.returncode == 0, messages
        assert "waiting for a machine with 1.5 CPUs from the autoscaler" in messages
        assert 2 <= most <= 4  # an actor fits on each
        deadline = time.monotonic() + 120
        while _workers(address):
            assert time.monotonic() < deadline, "machines stay though nothing is left to do"
            time.sleep(0.5)
    assert_holds(out, texts_of(ROWS))


@pytest.mark.usefixtures("local_ray")
def test_only_a_cluster_of_groups_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    impossible = JobConfig(output="out", actors="0:4", gpus_per_actor=8.0)
    assert not cluster_can_grow()
    with job_session(impossible):
        assert "waiting" not in capsys.readouterr().err
    monkeypatch.setattr("st_ray.runtime.joining.cluster_can_grow", lambda: True)
    monkeypatch.setattr("st_ray.runtime.joining.WAIT_SECONDS", 0.5)
    with (
        pytest.raises(ResourceError, match=r"a machine with 1.5 CPUs and 8 GPUs did not come in"),
        job_session(impossible),
    ):
        pass
    with job_session(JobConfig(output="out", actors="0:4")):  # it is there
        pass
