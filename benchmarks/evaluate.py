"""Evaluating a cross-encoder on labelled pairs: the whole job beside the peer's predict and evaluator, in one run.

    python -m benchmarks.evaluate --data FOLDER --cross-encoder MODEL

FOLDER holds train.csv and dev.csv of the STS benchmark, without header: sentence, sentence, score from 0 to 5. There
are fewer pairs than wanted, so that second sentences of other pairs are added, with the score 0. The peer is timed
without loading its model. `whole job` counts from the command to its end; `started` is the same without what the peer
is not charged for either, all up to the first committed shard (imports, Ray, the actors' models, and that shard);
`scoring` ends with the last shard, before anything is evaluated.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig

from benchmarks.jobs import rate_once_started
from benchmarks.machine import flops_per_token, gemm_peak
from st_ray.models.source import resolve_model
from st_ray.store.manifest import read_manifest


@dataclass(frozen=True)
class Timed:
    """What one way of evaluating took, and what it found."""

    name: str
    pairs: int
    seconds: float
    spearman: float
    started: float = 0.0
    scoring: float = 0.0
    tokens: int = 0

    @property
    def rate(self) -> float:
        return self.pairs / self.seconds


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv and dev.csv")
    parser.add_argument("--cross-encoder", required=True, help="model with one label")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--only", default="", help="only ways whose name holds this, beside the peer's")
    parser.add_argument("--peer", metavar="PAIRS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = str(resolve_model(args.cross_encoder))
    if args.peer:
        run_peer(model, Path(args.peer))
        return
    peaks = {dtype: gemm_peak(getattr(torch, dtype)) for dtype in ("float32", "bfloat16")}
    print(f"GEMM peak in GFLOP/s: {', '.join(f'{name} {peak / 1e9:,.0f}' for name, peak in peaks.items())}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(args.data, Path(folder, "pairs.csv"), args.pairs)
        command = [sys.executable, "-m", "benchmarks.evaluate", "--data", str(args.data), "--cross-encoder", model]
        command += ["--peer", str(pairs)]
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = [Timed("peer", args.pairs, **json.loads(ended.stdout.splitlines()[-1]))]
        print(f"  peer: {found[0].rate:,.1f} pairs/s", flush=True)
        for backend in ("torch", "openvino"):
            for dtype in peaks:
                if args.only in f"{backend} {dtype}":
                    found.append(run_job(model, pairs, Path(folder, f"{backend}-{dtype}"), backend, dtype))
                    print(f"  {found[-1].name}: {found[-1].rate:,.1f} pairs/s", flush=True)
    report(found, AutoConfig.from_pretrained(model), peaks)


def write_pairs(data: Path, output: Path, count: int) -> Path:
    """The benchmark's pairs, then first sentences with the second ones of pairs further and further behind."""
    rows = []
    for name in ("train.csv", "dev.csv"):
        with (data / name).open(encoding="utf-8", newline="") as file:
            rows += list(csv.reader(file))
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence1", "sentence2", "score"])
        for number in range(count):
            turn, row = divmod(number, len(rows))
            first, _, score = rows[row]
            second = rows[(row + 37 * turn) % len(rows)][1]
            writer.writerow([first, second, float(score) if not turn else 0.0])
    return output


def run_job(model: str, pairs: Path, output: Path, backend: str, dtype: str) -> Timed:
    flags = ["--evaluator", "correlation", "--data", str(pairs), "--text-columns", "sentence1,sentence2"]
    flags += ["--label-column", "score", "--cross-encoder", model, "--backend", backend, "--dtype", dtype]
    begun = time.perf_counter()
    command = [sys.executable, "-m", "jobs.evaluate_cross_encoder", *flags, "--output", str(output)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=2)
    seconds = time.perf_counter() - begun
    scores = read_manifest(str(output / "scores"))
    scoring = scores.run
    figures = read_manifest(str(output)).about["figures"]
    return Timed(
        f"{backend} {dtype}",
        scoring["pairs"],
        seconds,
        figures["spearman"],
        rate_once_started(scores, seconds, "st_ray.runtime.evaluation.cross_encoder"),
        scoring["pairs_per_second"],
        scoring["tokens"],
    )


def run_peer(model: str, pairs: Path) -> None:
    """What a user of the peer writes: its evaluator around its model."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator

    with pairs.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    texts, gold = [row[:2] for row in rows], [float(score) for *_, score in rows]
    encoder = CrossEncoder(model, device="cpu")
    encoder.predict(texts[:64])
    begun = time.perf_counter()
    found = CrossEncoderCorrelationEvaluator(texts, gold)(encoder)
    print(json.dumps({"seconds": time.perf_counter() - begun, "spearman": found["spearman"]}))


def report(found: list[Timed], config: object, peaks: dict[str, float]) -> None:
    peer = found[0]
    print(f"\n{peer.pairs:,} pairs; ratios to the peer's {peer.rate:,.1f} pairs/s; its Spearman {peer.spearman:.6f}")
    titles = ("whole job", "ratio", "started", "ratio", "scoring", "ratio", "of peak", "Spearman", "difference")
    widths = (10, 7, 9, 7, 9, 7, 9, 10, 12)
    print(" " * 22 + "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True)))
    for one in found[1:]:
        length = one.tokens / one.pairs
        share = one.scoring * length * flops_per_token(config, length) / peaks[one.name.split()[1]]
        print(
            f"{one.name:22}{one.rate:10,.1f}{one.rate / peer.rate:7.2f}{one.started:9,.1f}"
            f"{one.started / peer.rate:7.2f}{one.scoring:9,.1f}{one.scoring / peer.rate:7.2f}"
            f"{share:9.0%}{one.spearman:10.6f}{one.spearman - peer.spearman:12.1e}"
        )


if __name__ == "__main__":
    main()
