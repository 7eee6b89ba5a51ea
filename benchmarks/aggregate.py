"""Gathering the figures of many scored pairs, without a model: `python -m benchmarks.aggregate`.

Scores are written in parts as an evaluation commits them; then the job `evaluate_cross_encoder --scores` is run, once
for each evaluator. See benchmarks.footprint for what is shown of memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import numpy as np
import pyarrow as pa

from benchmarks.footprint import Footprint, footprint
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
            found = measure(f"{folder}/{kind}", evaluator, f"{folder}/{evaluator}")
            print(f"{evaluator}: {args.pairs:,} pairs of {args.parts} parts in {found.seconds:.0f} s")
            found.show()


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


def measure(scores: str, evaluator: str, output: str) -> Footprint:
    command = [sys.executable, "-m", "jobs.evaluate_cross_encoder", "--evaluator", evaluator, "--scores", scores]
    return footprint([*command, "--output", output])


if __name__ == "__main__":
    main()
