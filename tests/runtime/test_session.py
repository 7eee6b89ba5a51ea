"""Signals stop a job, also where a library swallows what their handler raises; where workers stand."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from st_ray.runtime.session import Stopped, _entering, raise_if_stopped, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_swallowed_signal_is_raised_again(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals():
        raise_if_stopped()
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), number)
        with pytest.raises(Stopped):
            raise_if_stopped()
    assert signal.getsignal(number) is before
    raise_if_stopped()


def test_an_inner_stop_does_not_linger() -> None:
    with stop_on_signals():
        with stop_on_signals(), contextlib.suppress(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        raise_if_stopped()


def test_workers_of_a_cluster_begin_where_the_job_is_if_that_is_there(tmp_path: Path) -> None:
    from ray import cloudpickle

    job, started = tmp_path / "job", tmp_path / "started"
    job.mkdir()
    started.mkdir()
    worker = "import os, pickle, sys; pickle.load(sys.stdin.buffer)(); print(os.getcwd(), 'st_ray' in sys.modules)"
    for folder, stands in ((job, job), (tmp_path / "none", started)):
        sent = cloudpickle.dumps(_entering(str(folder)))
        said = subprocess.run([sys.executable, "-c", worker], cwd=started, input=sent, capture_output=True, check=True)
        assert said.stdout.decode() == f"{stands} False\n"
