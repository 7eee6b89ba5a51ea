"""Community detection beside the peer's, and how it grows: `python -m benchmarks.communities [--help]`.

`community_detection` of Sentence Transformers and ours take turns on the same clustered vectors; both must find the
same communities, but for what rounding decides in the peer's: differences are counted. Then ours alone with growing
numbers of rows, beside the square of these, each in a process of its own, whose peak of memory is given.

On a shared machine trust ratios within a round, not times.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from sentence_transformers import util as peer

from benchmarks.machine import gemm_peak
from benchmarks.vectors import clustered
from st_ray import community_detection

Communities = list[list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--min-community-size", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", type=int, nargs="*", default=[25_000, 50_000, 100_000], help="rows, ours alone")
    parser.add_argument("--alone", action="store_true", help="one run of ours, its figures as JSON")
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(alone(args)))
        return
    if args.rounds:
        compare(args)
    if args.growth:
        grow(args)


def compare(args: argparse.Namespace) -> None:
    """Times of both in turns, and whether they find the same."""
    vectors = torch.from_numpy(clustered(args.rows, args.dimension))
    asked = {"threshold": args.threshold, "min_community_size": args.min_community_size}
    contenders: dict[str, Callable[..., Communities]] = {
        "peer": peer.community_detection,
        "st-ray": community_detection,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, Communities] = {}
    print(f"{args.rows:,} x {args.dimension}, {asked}, {torch.get_num_threads()} threads", flush=True)
    for dtype in (torch.float32, torch.bfloat16):
        flops = args.rows**2 * args.dimension
        print(f"  half of all pairs, {dtype} products at their peak: {flops / gemm_peak(dtype):.2f} s")
    for _ in range(args.rounds):
        for name, run in contenders.items():
            begun = time.perf_counter()
            found[name] = run(vectors, **asked)
            seconds[name].append(time.perf_counter() - begun)
            print(f"  {name:<8}{seconds[name][-1]:7.2f} s", flush=True)
    ratios = [theirs / ours for theirs, ours in zip(seconds["peer"], seconds["st-ray"], strict=True)]
    print(f"  ratio {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    theirs, ours = found["peer"], found["st-ray"]
    print(f"  {len(ours):,} communities of {sum(map(len, ours)):,} rows; {differences(theirs, ours)}", flush=True)


def differences(theirs: Communities, ours: Communities) -> str:
    """Whether both are the same, or how far they are."""
    if theirs == ours:
        return "the same as the peer's, in the same order"
    sets = {frozenset(community) for community in theirs}
    shared = sum(frozenset(community) in sets for community in ours)
    return f"{shared:,} of the peer's {len(theirs):,} are the same sets"


def grow(args: argparse.Namespace) -> None:
    """Ours alone: times and memory by rows."""
    print(f"{'rows':>10}{'seconds':>10}{'s / rows^2, first = 1':>24}{'MiB, vectors among them':>26}")
    first = None
    for rows in args.growth:
        command = [sys.executable, "-m", "benchmarks.communities", "--alone", "--rows", str(rows)]
        command += ["--dimension", str(args.dimension), "--threshold", str(args.threshold)]
        command += ["--min-community-size", str(args.min_community_size)]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        cost = figures["seconds"] / rows**2
        first = first or cost
        print(f"{rows:10,}{figures['seconds']:10.2f}{cost / first:24.2f}{figures['mib']:26,.0f}", flush=True)


def alone(args: argparse.Namespace) -> dict[str, float]:
    """Seconds, and the peak of this process's memory."""
    vectors = clustered(args.rows, args.dimension)
    begun = time.perf_counter()
    found = community_detection(vectors, args.threshold, args.min_community_size)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "mib": peak, "communities": len(found)}


if __name__ == "__main__":
    main()
