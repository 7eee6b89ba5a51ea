"""Gathering the figures of many scored pairs, without a model: `python -m benchmarks.aggregate`.

Scores are written in parts as an evaluation commits them; then the job `evaluate_cross_encoder --scores` is run, once
for each evaluator. Memory is the USS (pages of the process alone) of the driver and of the largest worker, and the
object store, which the processes share.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

import numpy as np
import psutil
import pyarrow as pa

from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part, part_name
from st_ray.store.scores import KIND, SCORES_PER_PAIR, scores_part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50_000_000)
    parser.add_argument("--parts", type=int, default=100)
    parser.add_argument("--evaluators", nargs="+", default=["binary-classification", "correlation"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for evaluator in args.evaluators:
            kind = "number" if evaluator == "correlation" else "binary"
            write_scores(f"{folder}/{kind}", args.pairs, args.parts, kind)
            seconds, peaks = measure(f"{folder}/{kind}", evaluator, f"{folder}/{evaluator}")
            print(f"{evaluator}: {args.pairs:,} pairs of {args.parts} parts in {seconds:.0f} s")
            for role in sorted(peaks):
                print(f"  {role:<16}{peaks[role] / 2**20:8,.0f} MiB", flush=True)


def write_scores(folder: str, pairs: int, parts: int, labels: str) -> None:
    """Parts with float32 scores, many of which are equal, and labels that go along with them."""
    output = OutputFolder(folder, KIND)
    writer = output.begin({"backend": "none", "dtype": "float32"})
    bounds = np.linspace(0, pairs, parts + 1).astype(np.int64)
    entries = []
    for number in range(parts):
        rng = np.random.default_rng(number)
        rows = np.arange(bounds[number], bounds[number + 1])
        gold = rng.random(len(rows))
        scores = np.round(0.6 * gold + 0.4 * rng.random(len(rows)), 5).astype(np.float32)
        label = np.round(5 * gold, 3) if labels == "number" else (gold > 0.7).astype(np.int64)
        data = scores_part({"row": pa.array(rows), "label": pa.array(label)}, scores[:, None])
        part = Part(data, len(rows), int(rows[0]), figures={SCORES_PER_PAIR: 1})
        entries.append(writer.commit(part_name(number, parts), part))
    about = {"documents": False, "labels": labels, "rows": pairs, "cross_encoder": "none", "activation": "none"}
    about |= {"data": ["synthetic"], "min_rank_correlation_to_float32": None}
    output.finish(Manifest(KIND, {"backend": "none", "dtype": "float32"}, tuple(entries), about))


def measure(scores: str, evaluator: str, output: str) -> tuple[float, dict[str, int]]:
    command = [sys.executable, "-m", "jobs.evaluate_cross_encoder", "--evaluator", evaluator, "--scores", scores]
    begun = time.monotonic()
    job = subprocess.Popen([*command, "--output", output])
    peaks: dict[str, int] = {}
    while job.poll() is None:
        for role, size in sample(job.pid).items():
            peaks[role] = max(peaks.get(role, 0), size)
        time.sleep(0.2)
    if job.returncode:
        raise SystemExit(f"the job failed with status {job.returncode}")
    return time.monotonic() - begun, peaks


def sample(pid: int) -> dict[str, int]:
    """USS of the driver and of the largest Ray worker, and the object store's pages."""
    found: dict[str, int] = {}
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return found
    for process in processes:
        try:
            title = " ".join(process.cmdline())
            role = "driver" if process.pid == pid else "worker" if title.startswith("ray::") else ""
            role = role or ("object store" if "raylet/raylet" in title else "")
            if role:
                memory = process.memory_full_info()
                size = memory.shared if role == "object store" else memory.uss
                found[role] = max(found.get(role, 0), size)
        except psutil.Error:
            continue
    return found


if __name__ == "__main__":
    main()
