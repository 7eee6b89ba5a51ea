"""The pipeline's parts that need no Ray."""

from __future__ import annotations

import signal
import subprocess
import sys

_HANGS = """
import atexit, time
from st_ray.runtime import pipeline
pipeline._END_SECONDS = 1
atexit.register(time.sleep, 600)
pipeline._end_for_sure()
"""


def test_an_actor_that_hangs_on_its_way_out_is_ended() -> None:
    ended = subprocess.run([sys.executable, "-c", _HANGS], check=False, timeout=60)
    assert ended.returncode == -signal.SIGALRM
