"""Jobs as commands of their own, and what of their time is not start-up."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

from st_ray.store.manifest import Manifest


def run_job(line: str) -> None:
    """`python -m jobs.LINE`; the command is printed first. Exits where it fails."""
    name, *flags = shlex.split(line)
    command = ["-m", f"jobs.{name}", *flags]
    print(f"\n$ python {shlex.join(command)}", flush=True)
    if status := subprocess.run([sys.executable, *command]).returncode:
        raise SystemExit(status)


def rate_once_started(scored: Manifest, seconds: float, module: str) -> float:
    """Pairs a second of a job of so many seconds without its start, all up to the first committed shard.

    Args:
        scored: of the folder in which the job has committed scores, by shards of one size.
        seconds: from the command to its end.
        module: what the job imports before it begins; that is timed apart, in a process that does nothing else.
    """
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    start = time.perf_counter() - begun + sum(scored.run["start_up_seconds"].values())
    pairs, shards = scored.run["pairs"], len(scored.entries)
    return pairs * (1 - 1 / shards) / (seconds - start)
