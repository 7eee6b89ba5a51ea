"""Reranking a collection's searches: the whole job beside the peer's `CrossEncoder.rank` in a loop, in one run.

    python -m benchmarks.rerank --data BEIR_FOLDER --cross-encoder MODEL

The candidates are the 100 best of BM25 for each query. Rates are of pairs a second; `whole job` counts from the command
to its end; `started` is the same without all up to the first committed shard (imports, Ray, the actors' models, and
that shard); `scoring` counts from the stage's start to its end. The peer's loop is timed without loading its model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import AutoConfig

from benchmarks.jobs import rate_once_started
from benchmarks.machine import flops_per_token, gemm_peak
from st_ray.models.source import resolve_model
from st_ray.scoring.agreement import rank_correlation
from st_ray.store.manifest import read_manifest

TOP_K = 100
QUERIES, CORPUS = "queries.jsonl", "corpus.jsonl"


@dataclass(frozen=True)
class Timed:
    """What one way of scoring took, and its scores, by query and document."""

    name: str
    pairs: int
    seconds: float
    scores: pa.Table
    started: float = 0.0
    scoring: float = 0.0
    tokens: int = 0

    @property
    def rate(self) -> float:
        return self.pairs / self.seconds


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {QUERIES} and {CORPUS}")
    parser.add_argument("--cross-encoder", required=True, help="model with one label")
    parser.add_argument("--queries", type=int, default=225, help="so many of the queries (default 225)")
    parser.add_argument("--only", default="", help="only ways whose name holds this, beside the peer's")
    parser.add_argument("--peer", nargs=2, metavar=("HITS", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = str(resolve_model(args.cross_encoder))
    if args.peer:
        peer_loop(args.data, model, *args.peer)
        return
    peaks = {dtype: gemm_peak(getattr(torch, dtype)) for dtype in ("float32", "bfloat16")}
    print(f"GEMM peak in GFLOP/s: {', '.join(f'{name} {peak / 1e9:,.0f}' for name, peak in peaks.items())}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = some_queries(args.data, Path(folder, "data"), args.queries)
        hits = searched(data, Path(folder, "hits"))
        peer = run_peer(data, model, hits, Path(folder, "peer.parquet"))
        print(f"  {peer.name}: {peer.rate:,.1f} pairs/s", flush=True)
        found = [peer]
        for backend in ("torch", "openvino"):
            for dtype in ("float32", "bfloat16"):
                if args.only in f"{backend} {dtype}":
                    found.append(run_job(data, model, hits, Path(folder, f"{backend}-{dtype}"), backend, dtype))
                    print(f"  {found[-1].name}: {found[-1].rate:,.1f} pairs/s", flush=True)
    report(found, AutoConfig.from_pretrained(model), peaks)


def some_queries(data: Path, folder: Path, count: int) -> Path:
    """A folder with the first `count` queries and the whole corpus."""
    folder.mkdir()
    (folder / CORPUS).symlink_to((data / CORPUS).resolve())
    lines = (data / QUERIES).read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / QUERIES).write_text("".join(lines[:count]), encoding="utf-8")
    return folder


def texts_of(data: Path) -> list[str]:
    """Flags that name the texts."""
    corpus = ["--corpus-id-column", "_id", "--corpus-text-columns", "title,text"]
    return ["--queries", str(data / QUERIES), "--id-column", "_id", "--text-columns", "text", *corpus]


def job(name: str, *flags: str) -> None:
    subprocess.run([sys.executable, "-m", f"jobs.{name}", *flags], check=True, stdout=subprocess.DEVNULL, stderr=2)


def searched(data: Path, output: Path) -> Path:
    job("search", "--bm25", str(data / CORPUS), *texts_of(data), "--top-k", str(TOP_K), "--output", str(output))
    return output


def run_job(data: Path, model: str, hits: Path, output: Path, backend: str, dtype: str) -> Timed:
    begun = time.perf_counter()
    how = ["--backend", backend, "--dtype", dtype, "--cross-encoder", model]
    texts = [*texts_of(data), "--corpus", str(data / CORPUS)]
    job("rerank", "--hits", str(hits), *texts, *how, "--output", str(output))
    seconds = time.perf_counter() - begun
    manifest = read_manifest(str(output))
    run, scores = manifest.run, pq.read_table(output / "data")
    started = rate_once_started(manifest, seconds, "st_ray.runtime.rerank.job")
    rates = started, run["pairs"] / run["rerank_seconds"]
    return Timed(f"{backend} {dtype}", run["pairs"], seconds, scores, *rates, run["tokens"])


def run_peer(data: Path, model: str, hits: Path, output: Path) -> Timed:
    command = [sys.executable, "-m", "benchmarks.rerank", "--data", str(data), "--cross-encoder", model]
    command += ["--peer", str(hits), str(output)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    scores = pq.read_table(output)
    return Timed("peer's rank loop", len(scores), json.loads(ended.stdout.splitlines()[-1])["seconds"], scores)


def peer_loop(data: Path, model: str, hits: str, output: str) -> None:
    """What a user of the peer writes: one call of `rank` a query."""
    from sentence_transformers import CrossEncoder

    queries, corpus = (read_texts(data / name) for name in (QUERIES, CORPUS))
    table = pq.read_table(Path(hits, "data"))
    wanted: dict[str, list[str]] = {}
    for query, document in zip(table["query_id"].to_pylist(), table["corpus_id"].to_pylist(), strict=True):
        wanted.setdefault(query, []).append(document)
    encoder = CrossEncoder(model, device="cpu")
    encoder.rank("warm up", ["some text"] * 8)
    rows = []
    begun = time.perf_counter()
    for query, documents in wanted.items():
        for hit in encoder.rank(queries[query], [corpus[document] for document in documents]):
            rows.append((query, documents[hit["corpus_id"]], hit["score"]))
    seconds = time.perf_counter() - begun
    names = ("query_id", "corpus_id", "score")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), output)
    print(json.dumps({"seconds": seconds}))


def read_texts(file: Path) -> dict[str, str]:
    """Texts by id, a title before its text."""
    rows = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    return {
        row["_id"]: f"{row['title']} {row['text']}" if file.name == CORPUS and "title" in row else row["text"]
        for row in rows
    }


def report(found: list[Timed], config: object, peaks: dict[str, float]) -> None:
    peer = found[0]
    expected = by_pair(peer.scores)
    print(f"\n{peer.pairs:,} pairs; ratios to the peer's {peer.rate:,.1f} pairs/s")
    titles = ("whole job", "ratio", "started", "ratio", "scoring", "ratio", "of peak", "max diff", "correlation")
    widths = (10, 7, 9, 7, 9, 7, 9, 10, 13)
    print(" " * 22 + "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True)))
    for one in found[1:]:
        scores = by_pair(one.scores)
        length = one.tokens / one.pairs
        share = one.scoring * length * flops_per_token(config, length) / peaks[one.name.split()[1]]
        print(
            f"{one.name:22}{one.rate:10,.1f}{one.rate / peer.rate:7.2f}"
            f"{one.started:9,.1f}{one.started / peer.rate:7.2f}{one.scoring:9,.1f}{one.scoring / peer.rate:7.2f}"
            f"{share:9.0%}{np.abs(scores - expected).max():10.1e}{rank_correlation(scores, expected):13.6f}"
        )


def by_pair(table: pa.Table) -> np.ndarray:
    """Scores in the order of queries and documents."""
    return table.sort_by([("query_id", "ascending"), ("corpus_id", "ascending")])["score"].to_numpy()


if __name__ == "__main__":
    main()
