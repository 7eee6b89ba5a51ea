"""Search side by side with its peers: `python -m benchmarks.search [--help]`.

exact: `semantic_search` of Sentence Transformers, faiss's IndexFlatIP in this process, and ours, in turns, on the same
queries and vectors; and the time that the scores alone take as one matrix product at this machine's peak.
index: recall and latency of several recipes by jobs.build_index, its speed with one worker and two, and autofaiss's
choice (with `--autofaiss-python`, an environment of its own) at equal recall.

On a shared machine trust ratios within a round, not times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np
import torch
from sentence_transformers import util as peer

from benchmarks.machine import gemm_peak
from benchmarks.vectors import clustered, held_out_queries
from st_ray import semantic_search
from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import similarity_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--top-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    corpus = clustered(args.rows, args.dimension)
    queries = held_out_queries(args.queries, args.dimension)
    exact(queries, corpus, args.top_k, args.rounds)


def exact(queries: np.ndarray, corpus: np.ndarray, k: int, rounds: int) -> None:
    """Times of exact search, and whether all find the same."""
    flat = faiss.IndexFlatIP(corpus.shape[1])
    flat.add(corpus)
    asked, rows = torch.from_numpy(queries), torch.from_numpy(corpus)
    contenders: dict[str, Callable[[], object]] = {
        "peer semantic_search": lambda: peer.semantic_search(asked, rows, top_k=k),
        "faiss IndexFlatIP": lambda: flat.search(queries, k),
        "st-ray semantic_search": lambda: semantic_search(asked, rows, top_k=k),
        "st-ray scan, arrays": lambda: scan(asked, rows, k),
        "st-ray scan, float32 only": lambda: scan(asked, rows, k, coarse=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    flops = 2 * len(queries) * corpus.size
    print(
        f"exact: {len(queries):,} queries x {len(corpus):,} x {corpus.shape[1]}, k {k}, {torch.get_num_threads()} threads"
    )
    for dtype in (torch.float32, torch.bfloat16):
        print(f"  the scores alone, {dtype} products at their peak: {flops / gemm_peak(dtype):.3f} s")
    for name, taken in seconds.items():
        ratios = {
            other: statistics.median(t / own for own, t in zip(taken, seconds[other], strict=True))
            for other in ("peer semantic_search", "faiss IndexFlatIP")
        }
        print(
            f"  {name:<28}{statistics.median(taken):7.3f} s   {ratios['peer semantic_search']:5.2f} x peer"
            f"   {ratios['faiss IndexFlatIP']:5.2f} x faiss"
        )
    ids, found = scan(asked, rows, k)[1], flat.search(queries, k)[1]
    print(f"  the same hits as faiss, in the same places: {np.mean(ids == found):.5f}")


def scan(
    queries: torch.Tensor, rows: torch.Tensor, k: int, coarse: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    found = Scan(similarity_of("cosine"), queries, k, coarse=coarse)
    found.absorb(rows, 0)
    return found.finish()


if __name__ == "__main__":
    main()
