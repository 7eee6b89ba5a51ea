"""Mining side by side with its peer: `python -m benchmarks.mining paraphrases [--help]`.

paraphrases: `paraphrase_mining_embeddings` of Sentence Transformers, ours, and the products of all pairs of rows alone
(one triangle of the matrix of scores, at torch's best block size), in turns, on the same vectors; whether both find
the same pairs above the tie boundary, which is where the last score begins; and how time grows with the rows.

On a shared machine trust ratios within a round, not times.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sentence_transformers import util as peer

from benchmarks.vectors import clustered
from st_ray import paraphrase_mining_embeddings
from st_ray.mining.paraphrases import mine
from st_ray.scoring.similarity import similarity_of

BLOCKS = (1024, 2048, 4096)
"""Block sizes of the products alone."""
DUPLICATES = 0.02
"""Share of the rows that are copies of others, some of them with a little noise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    mined = commands.add_parser("paraphrases")
    mined.add_argument("--rows", type=int, default=50_000)
    mined.add_argument("--dimension", type=int, default=384)
    mined.add_argument("--top-k", type=int, default=100)
    mined.add_argument("--max-pairs", type=int, default=500_000)
    mined.add_argument("--rounds", type=int, default=3, help="0 for growth alone")
    mined.add_argument("--growth", type=int, nargs="*", default=[25_000, 50_000, 100_000], help="without the peer")
    mined.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # Growth comes first, so that the peak of memory is ours alone.
    if args.growth:
        growth(args.growth, args.dimension, args.top_k, args.max_pairs)
    if args.rounds:
        paraphrases(near_duplicates(args.rows, args.dimension), args.top_k, args.max_pairs, args.rounds)


def near_duplicates(rows: int, dimension: int) -> torch.Tensor:
    """Vectors that lie as sentence embeddings do, some of which are equal or nearly so."""
    vectors = clustered(rows, dimension)
    rng = np.random.default_rng(1)
    copies = rng.choice(rows, int(DUPLICATES * rows), replace=False)
    noise = rng.standard_normal((len(copies), dimension), np.float32) * rng.choice([0.0, 0.02], len(copies))[:, None]
    vectors[copies] = vectors[rng.integers(0, rows, len(copies))] + noise.astype(np.float32) / np.sqrt(dimension)
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def paraphrases(rows: torch.Tensor, top_k: int, max_pairs: int, rounds: int) -> None:
    """Times of both, beside the products alone, and whether they find the same."""
    options = {"top_k": top_k, "max_pairs": max_pairs}
    block = min(BLOCKS, key=lambda size: timed(lambda: triangle(rows[:8192], size))[0])
    contenders: dict[str, Callable[[], object]] = {
        "peer": lambda: peer.paraphrase_mining_embeddings(rows, **options),
        "products alone, float32": lambda: triangle(rows, block),
        "products alone, bfloat16": lambda: triangle(rows.bfloat16(), block),
        "st-ray": lambda: paraphrase_mining_embeddings(rows, **options),
        "st-ray, columns": lambda: mine(rows, similarity_of("cosine"), top_k, max_pairs),
        "st-ray, float32 only": lambda: mine(rows, similarity_of("cosine"), top_k, max_pairs, coarse=False),
    }
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    used: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            taken = timed(run)
            wall[name].append(taken[0])
            used[name].append(taken[1])
    print(f"{len(rows):,} x {rows.shape[1]}, top_k {top_k}, max_pairs {max_pairs:,}, products in blocks of {block}")
    print(f"  {torch.get_num_threads()} threads; {load()}; medians of {rounds} rounds")
    for name in contenders:
        print(f"  {name:<26}{statistics.median(wall[name]):8.2f} s, CPU {statistics.median(used[name]):8.2f} s", end="")
        for other, sign in (("peer", "the peer's speed"), ("products alone, float32", "the products' time")):
            own, theirs = (wall[other], wall[name]) if other != "peer" else (wall[name], wall[other])
            cpu_own, cpu_theirs = (used[other], used[name]) if other != "peer" else (used[name], used[other])
            print(f"   {ratio(theirs, own):5.2f} x {sign} (CPU {ratio(cpu_theirs, cpu_own):5.2f})", end="")
        print()
    agreement(paraphrase_mining_embeddings(rows, **options), peer.paraphrase_mining_embeddings(rows, **options))


def agreement(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], rounding: float = 2e-6) -> None:
    """Whether both hold the same pairs but for those so near the last score that rounding decides."""
    last = max(ours[-1][0], theirs[-1][0])
    clear = {(i, j): score for score, i, j in ours if score > last + rounding}
    clear_theirs = {(i, j): score for score, i, j in theirs if score > last + rounding}
    kept, kept_theirs = ({(i, j) for _, i, j in pairs} for pairs in (ours, theirs))
    differing = len(clear.keys() - kept_theirs) + len(clear_theirs.keys() - kept)
    scores = np.array([pair[0] for pair in ours], np.float32)
    apart = max((abs(clear[pair] - clear_theirs[pair]) for pair in clear.keys() & clear_theirs.keys()), default=0.0)
    print(
        f"  {len(ours):,} pairs, the peer {len(theirs):,}; last score {ours[-1][0]:.6f}, the peer's {theirs[-1][0]:.6f}"
    )
    print(f"  the tie boundary: rank {int((scores > scores[-1]).sum()) + 1:,}; with rounding, rank {len(clear) + 1:,}")
    print(f"  pairs above it that one has and the other has not: {differing}; scores apart at most {apart:.1e}")


def growth(sizes: Sequence[int], dimension: int, top_k: int, max_pairs: int) -> None:
    """Times for more and more rows, beside their square."""
    base: tuple[int, float] | None = None
    for size in sizes:
        rows = near_duplicates(size, dimension)
        wall, used = timed(lambda rows=rows: mine(rows, similarity_of("cosine"), top_k, max_pairs))  # type: ignore[misc]
        base = base or (size, used)
        print(
            f"  {size:>9,} rows {wall:8.2f} s, CPU {used:8.2f} s: {used / base[1]:6.2f} x for "
            f"{(size / base[0]) ** 2:6.2f} x the pairs; peak of the process {peak_gib():.2f} GiB; {load()}"
        )


def triangle(rows: torch.Tensor, size: int) -> None:
    """The products of each row with itself and all that come after it, and nothing else."""
    blocks = rows.split(size)
    room = torch.empty(size, size, dtype=rows.dtype)
    for place, one in enumerate(blocks):
        for other in blocks[place:]:
            torch.mm(one, other.t(), out=room[: len(one), : len(other)])


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of all CPUs."""
    begun, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - begun, time.process_time() - used


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
