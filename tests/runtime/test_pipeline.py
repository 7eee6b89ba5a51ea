"""What of the pipeline needs no Ray session."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

_CHILD = """
import time
from st_ray.runtime import pipeline
pipeline._WATCH_SECONDS = 0.05
pipeline._leave_with_parent()
print("watching", flush=True)
time.sleep(600)
"""
_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_an_actor_leaves_with_the_process_that_started_it() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin and parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.5)
    assert child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    parent.stdin.close()
    parent.wait()
    gone, alive = psutil.wait_procs([child], timeout=30)
    assert gone and not alive
