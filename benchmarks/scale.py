"""What a shard costs beside its work: `python -m benchmarks.scale [--shards 20000]`.

The whole encode job, with an encoder that does next to nothing, over very many very small shards: plan, stage, commit
and manifest are the real ones. Then half of the commit records and the manifest are removed, and the job goes on. Told
are, for each run: seconds to the first commit, shards a second from the first commit to the last, seconds of the whole,
and how far the driver's memory (USS) grew from before the job to its peak, for each shard. What grows faster than the
number of shards shows against a run with fewer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from st_ray.core.splitmix import splitmix64
from st_ray.models.tokens import TokenizedTexts
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.store.manifest import MANIFEST

DIMENSION = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--rows", type=int, default=4, help="of a shard (default 4)")
    parser.add_argument("--run", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run(Path(args.run), args.rows)))
        return
    for shards in args.shards:
        compare(shards, args.rows)


def compare(shards: int, rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(f'{{"text": "text {row}"}}\n' for row in range(shards * rows))
        whole = started(folder, rows)
        output = folder / "out"
        manifest = (output / MANIFEST).stat().st_size
        print(f"{shards:,} shards of {rows} rows")
        show("whole run", whole, shards)
        print(f"  manifest {manifest / 1e6:.1f} MB, {manifest / shards:.0f} bytes a shard")
        before = digests(output)
        (output / MANIFEST).unlink()
        for number, record in enumerate(sorted((output / "commits").iterdir())):
            if number % 2:
                record.unlink()
        show("half of it committed", started(folder, rows), shards)
        if digests(output) != before:
            raise SystemExit("the resumed run gave other parts than the first one")


def started(folder: Path, rows: int) -> dict[str, Any]:
    """Figures of one run, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--run", str(folder), "--rows", str(rows)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def run(folder: Path, rows: int) -> dict[str, Any]:
    with peak_memory() as memory:
        begun = time.monotonic()
        config = EncodeConfig(
            input=(str(folder / "corpus.jsonl"),), model="stub", output=str(folder / "out"), shard_rows=rows
        )
        figures = encode(config, loader=LeastLoader()).manifest.run
        seconds = time.monotonic() - begun
    start_up = figures["start_up_seconds"]
    return {
        "seconds": seconds,
        "first_commit": sum(start_up.values()),
        "start_up": start_up,
        "shards_per_second": figures["rows_per_second_after_first_commit"] / rows,
        "memory": memory.peak - memory.before,
        "before": memory.before,
    }


def show(title: str, found: dict[str, Any], shards: int) -> None:
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["start_up"].items())
    print(f"  {title}: {found['seconds']:.1f} s, to the first commit {found['first_commit']:.1f} s ({parts})")
    print(
        f"    {found['shards_per_second']:.1f} shards/s; driver {found['before'] / 2**20:.0f} MiB before, "
        f"+{found['memory'] / 2**20:.0f} MiB at its peak, {found['memory'] / shards / 1024:.1f} KiB a shard",
        flush=True,
    )


def digests(output: Path) -> list[str]:
    return [entry["digest"] for entry in json.loads((output / MANIFEST).read_bytes())["entries"]]


@dataclass
class Memory:
    """Bytes of this process alone: before, and at its peak."""

    before: int
    peak: int


@contextmanager
def peak_memory() -> Iterator[Memory]:
    process, ended = psutil.Process(), threading.Event()
    now = process.memory_full_info().uss
    memory = Memory(now, now)

    def watch() -> None:
        while not ended.wait(0.5):
            memory.peak = max(memory.peak, process.memory_full_info().uss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        ended.set()
        watcher.join()


@dataclass(frozen=True)
class LeastLoader:
    """Loads a tokenizer and an encoder that do as little as they can."""

    def tokenizer(self) -> LeastTokenizer:
        return LeastTokenizer()

    def encoder(self, threads: int | None) -> LeastEncoder:
        return LeastEncoder()

    def __repr__(self) -> str:
        return "LeastLoader()"  # its identity for the lineage


class LeastTokenizer:
    """One token a text: its length."""

    def tokenize(self, texts: list[str], prompt: str = "") -> TokenizedTexts:
        flat = np.array([len(prompt) + len(text) for text in texts], np.int32)
        return TokenizedTexts(flat=flat, lengths=np.ones(len(texts), np.int32), prompt_length=0, type_ids=None)


class LeastEncoder:
    """Numbers that follow from the token."""

    dimension = DIMENSION

    def encode_tokenized(self, tokens: TokenizedTexts, **options: Any) -> np.ndarray:
        noise = splitmix64(np.repeat(np.asarray(tokens.flat), DIMENSION).astype(np.uint64))
        return (noise >> np.uint64(40)).astype(np.float32).reshape(-1, DIMENSION)


if __name__ == "__main__":
    main()
