"""Freed memory is kept for the next batch, until the process needs it for something else."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
_BATCHES = """
import resource, sys
import numpy as np
from st_ray.core.heap import give_back_freed_memory, keep_freed_memory

size, *calls = sys.argv[1:]
for call in calls:
    eval(call)

def batch():
    [np.ones(int(size), np.uint8) for _ in range(8)]

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        batch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(3)
print(faults(20))
"""
KEEP, KEEP_ALL, GIVE_BACK = "keep_freed_memory()", "keep_freed_memory(None)", "give_back_freed_memory()"


# A fault is of a page of 4 KiB, or of one of 2 MiB.
@pytest.mark.parametrize("mebibytes, calls", [(4, [KEEP]), (4, [KEEP_ALL]), (64, [KEEP_ALL])])
def test_batches_after_the_first_ones_take_no_memory_from_the_kernel(mebibytes: int, calls: list[str]) -> None:
    assert _faults(mebibytes, calls) < 100


@pytest.mark.parametrize("mebibytes, calls", [(4, []), (64, [KEEP]), (4, [KEEP, GIVE_BACK])])
def test_what_is_not_kept_is_taken_anew(mebibytes: int, calls: list[str]) -> None:
    assert _faults(mebibytes, calls) >= 20 * 8 * mebibytes // 2


def test_what_was_kept_is_given_back() -> None:
    script = (
        "import numpy as np, psutil\nfrom st_ray.core.heap import *\nkeep_freed_memory()\n"
        "arrays = [np.ones(1 << 20) for _ in range(32)]\ndel arrays\n"
        "held = psutil.Process().memory_info()\ngive_back_freed_memory()\nleft = psutil.Process().memory_info()\n"
        "print(held.rss - left.rss)"
    )
    assert _run(script) > 200 << 20


def _faults(mebibytes: int, calls: list[str]) -> int:
    return _run(_BATCHES, str(mebibytes << 20), *calls)


def _run(script: str, *arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout)
