"""Steps of training side by side with the peer's trainer: `python -m benchmarks.train --data FOLDER [--help]`.

Sentence Transformers' trainers and our loop take turns, each in a process of its own, on the training pairs of the STS
benchmark (FOLDER/train.csv), with the same model, batch and arithmetic: a cross-encoder with binary cross-entropy, a
bi-encoder with the cosine loss. Seconds are those of the steps, without loading. Ours are without tokenizing, which the
job does once for all epochs and the peer in each step. Ours stand there twice: as the job trains, with examples of like
length in one batch; and with batches drawn at random alone, as the peer's are.

--jobs also runs whole jobs with one worker and with two, which share the same CPUs, and times what two do that one does
not: the exchange of gradients, and the optimiser in both.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import redirect_stdout
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import gemm_peak
from benchmarks.sts_cross_encoder import BASE, Pairs, read_pairs
from st_ray.core.heap import keep_freed_memory
from st_ray.models.source import resolve_model
from st_ray.runtime.training.rows import ExampleMaker, Rows, ShardRows
from st_ray.store.manifest import read_manifest
from st_ray.training.bases import inspect_pair_base, inspect_text_base
from st_ray.training.crew import Crew
from st_ray.training.examples import Examples
from st_ray.training.loop import train
from st_ray.training.losses import LOSSES
from st_ray.training.network import load_pair_network, load_text_network
from st_ray.training.settings import Settings
from st_ray.training.step import adamw

DTYPES = ("float32", "bfloat16")
LOSS = {"cross-encoder": "bce", "bi-encoder": "cosine"}
LR, WARMUP = 5e-5, 0.1


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv")
    parser.add_argument("--model", default=BASE)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", action="store_true", help="also run whole jobs, with one worker and with two")
    args = parser.parse_args()
    peaks = ", ".join(f"{gemm_peak(getattr(torch, dtype)) / 1e9:,.0f} GFLOP/s in {dtype}" for dtype in DTYPES)
    print(f"batches of {args.batch_size}, {args.steps} steps, {torch.get_num_threads()} threads; products at {peaks}")
    what = (str(resolve_model(args.model)), args.data / "train.csv", args.batch_size, args.steps)
    with own_process() as theirs, own_process(partial(keep_freed_memory, None)) as ours:
        for kind in LOSS:
            for dtype in DTYPES:
                contenders = {
                    "peer": partial(theirs.submit, peer_seconds, kind, dtype, *what),
                    "st-ray": partial(ours.submit, own_seconds, kind, dtype, True, *what),
                    "st-ray, lengths mixed": partial(ours.submit, own_seconds, kind, dtype, False, *what),
                }
                seconds: dict[str, list[float]] = {name: [] for name in contenders}
                for _ in range(args.rounds):
                    for name, submit in contenders.items():
                        seconds[name].append(submit().result())
                show(f"{kind}, {LOSS[kind]}, {dtype}", seconds, args.steps)
    if args.jobs:
        compare_workers(args)


def own_process(prepare: Any = None) -> Executor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=prepare)


def show(title: str, seconds: Mapping[str, list[float]], steps: int) -> None:
    print(title)
    for name, times in seconds.items():
        ratios = [theirs / own for theirs, own in zip(seconds["peer"], times, strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        rate = steps / statistics.median(times)
        print(f"  {name:<24}{rate:6.2f} steps/s {statistics.median(ratios):6.2f} x  {spread}", flush=True)


def own_seconds(kind: Any, dtype: str, grouped: bool, model: str, file: Path, batch: int, steps: int) -> float:
    network = (
        load_pair_network(inspect_pair_base(model), 0)
        if kind == "cross-encoder"
        else load_text_network(inspect_text_base(model))
    )
    settings = Settings(batch_size=batch, lr=LR, warmup_ratio=WARMUP, dtype=dtype, grouped=grouped)
    examples = prepared(kind, model, file, batch * steps)
    begun = time.perf_counter()
    train(network, examples, LOSSES[LOSS[kind]], settings, Crew(), torch.device("cpu"), Nothing())
    return time.perf_counter() - begun


def some_pairs(file: Path, count: int) -> tuple[Pairs, np.ndarray]:
    """As many, drawn at random: the file begins with short ones."""
    pairs, labels = read_pairs(file)
    drawn = np.random.default_rng(0).permutation(len(pairs))[:count]
    return [pairs[row] for row in drawn], labels[drawn]


@cache
def prepared(kind: Any, model: str, file: Path, count: int) -> Examples:
    pairs, labels = some_pairs(file, count)
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    part = ExampleMaker.of(kind, model).part(ShardRows(Rows(first, [second], labels[:, None]), 0), "part.arrow")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "part.arrow")
        made.write_bytes(part.data)
        return Examples.open([str(made)], kind)  # what is mapped stays readable


class Nothing:
    """Hooks that do nothing."""

    def progress(self, examples: int, tokens: int) -> None: ...
    def evaluate(self, network: Any) -> None: ...
    def log(self, record: Any) -> None: ...
    def checkpoint(self, write: Any, metrics: Any) -> None: ...


def peer_seconds(kind: str, dtype: str, model: str, file: Path, batch: int, steps: int) -> float:
    import sentence_transformers as peer
    from datasets import Dataset
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        begun = ended = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.begun = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.ended = time.perf_counter()

    pairs, labels = some_pairs(file, batch * steps)
    data = Dataset.from_dict({"a": [a for a, _ in pairs], "b": [b for _, b in pairs], "label": labels.tolist()})
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        settings: dict[str, Any] = {
            "output_dir": folder, "per_device_train_batch_size": batch, "num_train_epochs": 1, "learning_rate": LR,
            "warmup_steps": WARMUP, "bf16": dtype == "bfloat16", "use_cpu": True, "report_to": "none",
            "save_strategy": "no", "logging_steps": 10, "disable_tqdm": True, "dataloader_pin_memory": False,
        }  # fmt: skip
        if kind == "cross-encoder":
            pair_network = peer.CrossEncoder(model, num_labels=1, device="cpu")
            arguments = peer.CrossEncoderTrainingArguments(**settings)
            peer.CrossEncoderTrainer(
                pair_network, arguments, data, loss=BinaryCrossEntropyLoss(pair_network), callbacks=[clock]
            ).train()
        else:
            network = peer.SentenceTransformer(model, device="cpu")
            arguments = peer.SentenceTransformerTrainingArguments(**settings)
            peer.SentenceTransformerTrainer(
                network, arguments, data, loss=CosineSimilarityLoss(network), callbacks=[clock]
            ).train()
    return clock.ended - clock.begun


def compare_workers(args: argparse.Namespace) -> None:
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "jobs.train_cross_encoder", "--base-model", args.model, "--data",
                       str(args.data / "train.csv"), "--columns", "first,second,score", "--label-scale", "5",
                       "--lr", str(LR), "--batch-size", str(args.batch_size), "--workers", str(workers),
                       "--output", folder]  # fmt: skip
            begun = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            seconds = time.perf_counter() - begun
            run = read_manifest(folder).run
            rate = run["examples_per_second"] / args.batch_size
            print(f"job, workers {workers} of {run['threads_per_worker']} threads: {rate:.2f} steps/s, {seconds:.0f} s")
    parameters = sum(p.numel() for p in load_pair_network(inspect_pair_base(args.model), 0).parameters())
    print(f"of a step, optimiser: {1e3 * optimiser_seconds(parameters):.0f} ms, by {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        group = f"file://{folder}/group"
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as both:
            found = list(both.map(exchange_seconds, range(2), [group] * 2, [parameters] * 2))
    exchange, optimiser = (1e3 * max(values) for values in zip(*found, strict=True))
    print(f"of a step, two workers: {exchange:.0f} ms exchange of gradients, {optimiser:.0f} ms optimiser in each")


def optimiser_seconds(parameters: int) -> float:
    """Of one step of AdamW."""
    network = torch.nn.Linear(parameters // 1024, 1024, bias=False)
    optimiser = adamw(network, 0.0)
    network.weight.grad = torch.ones_like(network.weight)
    return _median(optimiser.step)


def exchange_seconds(rank: int, group: str, parameters: int) -> tuple[float, float]:
    """Of one exchange of all gradients between two processes of one thread, and of one step of AdamW in both."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=group, rank=rank, world_size=2)
    gradient = torch.ones(parameters)
    return _median(lambda: torch.distributed.all_reduce(gradient)), optimiser_seconds(parameters)


def _median(work: Any, times: int = 20) -> float:
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return float(np.median(found))


if __name__ == "__main__":
    main()
