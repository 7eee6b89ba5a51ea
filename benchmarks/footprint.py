"""Seconds and peak memory, process by process, of a command that runs on Ray.

    python -m benchmarks.footprint -m jobs.detect_communities --embeddings STORE --output OUT

Memory is USS (pages of a process alone): of the driver, and of the largest worker of each kind. The object store, which
all share, and whose size is bounded, is given apart.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

DRIVER, OBJECT_STORE = "driver", "object store (shared)"


@dataclass(frozen=True)
class Footprint:
    """What a command took; peaks in bytes, by role."""

    seconds: float
    peaks: dict[str, int]

    def show(self) -> None:
        for role in sorted(self.peaks):
            print(f"  {role:<32}{self.peaks[role] / 2**20:8,.0f} MiB", flush=True)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        raise SystemExit(__doc__)
    found = footprint([sys.executable, *sys.argv[1:]])
    print(f"{found.seconds:.0f} s")
    found.show()


def footprint(command: Sequence[str], **options: Any) -> Footprint:
    """Run it to its end; `options` are those of Popen. Exits where it fails."""
    begun = time.monotonic()
    job = subprocess.Popen(command, **options)
    peaks: dict[str, int] = {}
    while job.poll() is None:
        for role, size in _sample(job.pid).items():
            peaks[role] = max(peaks.get(role, 0), size)
        time.sleep(0.2)
    if job.returncode:
        raise SystemExit(f"the job failed with status {job.returncode}")
    return Footprint(time.monotonic() - begun, peaks)


def _sample(pid: int) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return found
    for process in processes:
        try:
            title = " ".join(process.cmdline())
            role = DRIVER if process.pid == pid else _role(title)
            if role:
                memory = process.memory_full_info()
                found[role] = max(found.get(role, 0), memory.shared if role == OBJECT_STORE else memory.uss)
        except psutil.Error:
            continue
    return found


def _role(title: str) -> str:
    """`ray::MapWorker(Map(Compare)).submit()` is `MapWorker(Map(Compare))`; nothing for what is no worker of ours."""
    if "raylet/raylet" in title:
        return OBJECT_STORE
    own = title.startswith("ray::") and not title.startswith(("ray::IDLE", "ray::Dashboard"))
    return title.removeprefix("ray::").partition(" ")[0].partition(".")[0][:32] if own else ""


if __name__ == "__main__":
    main()
