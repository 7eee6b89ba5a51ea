"""Mining side by side with Sentence Transformers: `python -m benchmarks.mining [paraphrases] [communities] [--help]`.

paraphrases: `paraphrase_mining_embeddings` of the peer, ours, and the products of all pairs of rows alone (one triangle
of the matrix of scores, at torch's best block size); whether both find the same pairs above the tie boundary, which is
where the last score begins. communities: `community_detection` of both, and whether they find the same communities.
All take turns on the same synthetic vectors. Then ours alone with growing numbers of rows, beside the square of these,
each in a process of its own, whose peak of memory is given.

On a shared machine trust ratios, which are medians of those within a round, not times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import util as peer

from benchmarks.machine import gemm_peak
from benchmarks.vectors import clustered
from st_ray import community_detection, paraphrase_mining_embeddings
from st_ray.mining.paraphrases import mine
from st_ray.scoring.similarity import similarity_of

BLOCKS = (1024, 2048, 4096)
"""Block sizes of the products alone."""
DUPLICATES = 0.02
"""Share of the rows that are copies of others, some of them with a little noise."""
PAIRS = {"top_k": 100, "max_pairs": 500_000}
GROUPS = {"threshold": 0.6, "min_community_size": 10}
PEER, PRODUCTS = "peer", "products alone, float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="paraphrases | communities", help="both by default")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3, help="0 for growth alone")
    parser.add_argument("--growth", type=int, nargs="*", default=[25_000, 50_000, 100_000], help="rows, ours alone")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    kinds = args.kinds or ["paraphrases", "communities"]
    unknown = set(kinds) - {"paraphrases", "communities"}
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    for kind in kinds:
        if args.alone:
            print(json.dumps(alone(kind, args.rows, args.dimension)))
            continue
        print(f"{kind}: {args.rows:,} x {args.dimension}, {torch.get_num_threads()} threads, {load()}", flush=True)
        if args.rounds:
            (paraphrases if kind == "paraphrases" else communities)(args.rows, args.dimension, args.rounds)
        grow(kind, args.growth, args.dimension)


def paraphrases(count: int, dimension: int, rounds: int) -> None:
    """Times of both, beside the products alone, and whether they find the same."""
    rows = near_duplicates(count, dimension)
    half = rows.bfloat16()
    block = min(BLOCKS, key=lambda size: timed(lambda: triangle(rows[:8192], size))[0])
    cosine = similarity_of("cosine")
    found = race(
        {
            PEER: lambda: peer.paraphrase_mining_embeddings(rows, **PAIRS),
            PRODUCTS: lambda: triangle(rows, block),
            "products alone, bfloat16": lambda: triangle(half, block),
            "st-ray": lambda: paraphrase_mining_embeddings(rows, **PAIRS),
            "st-ray, columns": lambda: mine(rows, cosine, **PAIRS),
            "st-ray, float32 alone": lambda: mine(rows, cosine, **PAIRS, coarse=False),
        },
        rounds,
    )
    agreement(found["st-ray"], found[PEER])


def communities(count: int, dimension: int, rounds: int) -> None:
    """Times of both, and whether they find the same."""
    rows = torch.from_numpy(clustered(count, dimension))
    for dtype in (torch.float32, torch.bfloat16):
        print(f"  half of all pairs, {dtype} products at their peak: {count**2 * dimension / gemm_peak(dtype):.2f} s")
    found = race(
        {
            PEER: lambda: peer.community_detection(rows, **GROUPS),
            "st-ray": lambda: community_detection(rows, **GROUPS),
        },
        rounds,
    )
    ours, theirs = found["st-ray"], found[PEER]
    shared = len({frozenset(one) for one in theirs} & {frozenset(one) for one in ours})
    same = "in the same order" if ours == theirs else f"{shared:,} of {len(theirs):,} the same sets"
    print(f"  {len(ours):,} communities of {sum(map(len, ours)):,} rows; the peer's: {same}", flush=True)


def race(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Let them take turns, and print their times; what each found in the last round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, Any] = {}
    for _ in range(rounds):
        for name, run in contenders.items():
            taken, found[name] = timed(run)
            seconds[name].append(taken)
    for name, times in seconds.items():
        line = f"  {name:<26}{statistics.median(times):8.2f} s   {ratio(seconds[PEER], times):5.2f} x the peer's speed"
        if PRODUCTS in seconds:
            line += f"   {ratio(times, seconds[PRODUCTS]):5.2f} x the products' time"
        print(line, flush=True)
    return found


def agreement(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], rounding: float = 2e-6) -> None:
    """Whether both hold the same pairs but for those so near the last score that rounding decides."""
    last = max(ours[-1][0], theirs[-1][0])
    clear, clear_theirs = (
        {(i, j): score for score, i, j in pairs if score > last + rounding} for pairs in (ours, theirs)
    )
    kept, kept_theirs = ({(i, j) for _, i, j in pairs} for pairs in (ours, theirs))
    differing = len(clear.keys() - kept_theirs) + len(clear_theirs.keys() - kept)
    apart = max((abs(clear[pair] - clear_theirs[pair]) for pair in clear.keys() & clear_theirs.keys()), default=0.0)
    print(
        f"  {len(ours):,} pairs, the peer {len(theirs):,}; last score {ours[-1][0]:.6f}, the peer's {theirs[-1][0]:.6f}"
    )
    print(f"  above the tie boundary ({len(clear):,} pairs), {differing} that one has and the other has not; ", end="")
    print(f"scores apart by {apart:.1e} at most", flush=True)


def grow(kind: str, sizes: Sequence[int], dimension: int) -> None:
    """Ours alone: times and memory by rows."""
    first: dict[str, float] = {}
    for rows in sizes:
        command = [sys.executable, "-m", "benchmarks.mining", kind, "--alone", "--rows", str(rows)]
        command += ["--dimension", str(dimension)]
        taken = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        first = first or {"rows": rows, **taken}
        more, pairs = taken["seconds"] / first["seconds"], (rows / first["rows"]) ** 2
        print(f"  {rows:>9,} rows {taken['seconds']:8.2f} s: {more:6.2f} x for {pairs:6.2f} x the pairs; ", end="")
        print(f"peak {taken['gib']:.2f} GiB", flush=True)


def alone(kind: str, rows: int, dimension: int) -> dict[str, float]:
    """Seconds, and the peak of this process's memory, vectors among them."""
    if kind == "paraphrases":
        vectors = near_duplicates(rows, dimension)
        seconds, _ = timed(lambda: mine(vectors, similarity_of("cosine"), **PAIRS))
    else:
        vectors = torch.from_numpy(clustered(rows, dimension))
        seconds, _ = timed(lambda: community_detection(vectors, **GROUPS))
    return {"seconds": seconds, "gib": peak_gib()}


def peak_gib() -> float:
    """Of this process alone; `getrusage` would tell the parent's where that is higher."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def near_duplicates(rows: int, dimension: int) -> torch.Tensor:
    """Vectors that lie as sentence embeddings do, some of which are equal or nearly so."""
    vectors = clustered(rows, dimension)
    rng = np.random.default_rng(1)
    copies = rng.choice(rows, int(DUPLICATES * rows), replace=False)
    noise = rng.standard_normal((len(copies), dimension), np.float32) * rng.choice([0.0, 0.02], len(copies))[:, None]
    vectors[copies] = vectors[rng.integers(0, rows, len(copies))] + noise.astype(np.float32) / np.sqrt(dimension)
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def triangle(rows: torch.Tensor, size: int) -> None:
    """The products of each row with itself and all that come after it, and nothing else."""
    blocks = rows.split(size)
    room = torch.empty(size, size, dtype=rows.dtype)
    for place, one in enumerate(blocks):
        for other in blocks[place:]:
            torch.mm(one, other.t(), out=room[: len(one), : len(other)])


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    begun = time.perf_counter()
    found = run()
    return time.perf_counter() - begun, found


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
