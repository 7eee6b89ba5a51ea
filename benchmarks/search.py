"""Search side by side with its peers: `python -m benchmarks.search [--help]`.

exact: `semantic_search` of Sentence Transformers, faiss's IndexFlatIP in this process, and ours, in turns, on the same
queries and vectors; and the time that the scores alone take as one matrix product at this machine's peak.
--index: what jobs.build_index chooses, its recall and latency in this process beside exact search, and how much faster
two workers fill it than one; with `--autofaiss FILE`, made by benchmarks/autofaiss_peer.py, also autofaiss's choice at
equal recall.

On a shared machine trust ratios within a round, not times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import faiss
import numpy as np
import torch
from sentence_transformers import util as peer

from benchmarks.machine import gemm_peak
from benchmarks.vectors import clustered, clustered_blocks, held_out_queries, write_store
from st_ray import semantic_search
from st_ray.index.output import open_index_output
from st_ray.index.tune import recall
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.build_index.summary import build_index_summary
from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import similarity_of
from st_ray.search.indexed import IndexSearcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--top-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--index", action="store_true", help="compare indexes in place of exact searches")
    parser.add_argument("--factory", default="auto")
    parser.add_argument("--memory-gib", type=float, default=4.0)
    parser.add_argument("--target-recall", type=float, default=0.95)
    parser.add_argument("--autofaiss", default="", metavar="FILE", help="an index by autofaiss of the same vectors")
    args = parser.parse_args()
    queries = held_out_queries(args.queries, args.dimension)
    if args.index:
        indexes(queries, args)
    else:
        exact(queries, clustered(args.rows, args.dimension), args.top_k, args.rounds)


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
    print(f"{len(queries):,} queries x {len(corpus):,} x {corpus.shape[1]}, k {k}, {torch.get_num_threads()} threads")
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


def indexes(queries: np.ndarray, args: argparse.Namespace) -> None:
    """An index by the job beside exact search and autofaiss."""
    with tempfile.TemporaryDirectory() as folder:
        write_store(f"{folder}/store", clustered_blocks(args.rows, args.dimension))
        common = {"embeddings": f"{folder}/store", "factory": args.factory, "memory_gib": args.memory_gib}
        filled = {}
        for workers in (1, 2):
            target = args.target_recall if workers == 2 else 0.0
            config = BuildIndexConfig(
                output=f"{folder}/index-{workers}",
                target_recall=target,
                actors=str(workers),
                cpus_per_actor=1,
                **common,
            )
            built = build_index(config)
            filled[workers] = built.manifest.run["seconds"]["fill"]
        print(build_index_summary(built))
        print(f"fill: {filled[1]:.1f} s by one worker, {filled[2]:.1f} s by two: {filled[1] / filled[2]:.2f} x")
        index = open_index_output(built.folder)
        ours = IndexSearcher(index.spec, [(index.part_url(e), e.rows) for e in index.entries], index.parameter)
    asked, rows = torch.from_numpy(queries), torch.from_numpy(clustered(args.rows, args.dimension))
    truth = scan(asked, rows, 10)[1]
    exact_seconds = best_of(args.rounds, lambda: scan(asked, rows, 10))
    seconds = best_of(args.rounds, lambda: ours.search(queries, 10))
    reached = recall(ours.search(queries, 10)[1], truth)
    print(f"exact: {1000 * exact_seconds / len(queries):.3f} ms a query")
    print(
        f"{index.spec.factory}, {index.spec.search_parameter} {index.parameter}: recall@10 {reached:.4f}, "
        f"{1000 * seconds / len(queries):.3f} ms a query, {exact_seconds / seconds:.1f} x exact"
    )
    if args.autofaiss:
        theirs, setting, found = at_recall(args.autofaiss, queries, truth, reached, args.rounds)
        print(
            f"autofaiss, {setting}: recall@10 {found:.4f}, {1000 * theirs / len(queries):.3f} ms a query; "
            f"ours is {theirs / seconds:.2f} x as fast"
        )


def at_recall(
    path: str, queries: np.ndarray, truth: np.ndarray, target: float, rounds: int
) -> tuple[float, str, float]:
    """Seconds, setting and recall of the index at `path` with the least effort that reaches the recall `target`."""
    index = faiss.read_index(path)
    space = faiss.ParameterSpace()
    name = "efSearch" if hasattr(faiss.downcast_index(index), "hnsw") else "nprobe"
    value, found = 0, 0.0
    for value in sorted({int(1.15**step) for step in range(1, 70)}):
        space.set_index_parameter(index, name, value)
        found = recall(index.search(queries, 10)[1], truth)
        if found >= target:
            break
    return best_of(rounds, lambda: index.search(queries, 10)), f"{name} {value}", found


def best_of(rounds: int, run: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def scan(
    queries: torch.Tensor, rows: torch.Tensor, k: int, coarse: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    found = Scan(similarity_of("cosine"), queries, k, coarse=coarse)
    found.absorb(rows, 0)
    return found.finish()


if __name__ == "__main__":
    main()
