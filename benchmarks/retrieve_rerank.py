"""Retrieve & re-rank over a BEIR folder: dense, BM25 and fused hits, each also scored again by a cross-encoder.

    python -m benchmarks.retrieve_rerank --data BEIR_FOLDER --cross-encoder MODEL --output FOLDER

Prints one table of metrics. Every step is a job with an output of its own below FOLDER, so a second run only prints.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.rerank import CORPUS, QUERIES, texts_of
from benchmarks.sts_cross_encoder import BASE
from st_ray.store.manifest import read_manifest

METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "map@100")
TOP_K = "100"


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {QUERIES}, {CORPUS} and qrels/")
    parser.add_argument("--cross-encoder", required=True, help="model with one label")
    parser.add_argument("--model", default=BASE, help=f"bi-encoder (default {BASE})")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    out, texts = args.output, texts_of(args.data)
    queries = texts[: texts.index("--corpus-id-column")]
    job("encode", "--input", args.data, "--model", args.model, "--dtype", "float32", "--output", out / "embeddings")
    job(
        "search",
        "--embeddings",
        out / "embeddings",
        *queries,
        "--dtype",
        "float32",
        "--top-k",
        TOP_K,
        "--output",
        out / "dense",
    )
    job("search", "--bm25", args.data / CORPUS, *texts, "--top-k", TOP_K, "--output", out / "bm25")
    job("fuse", "--hits", out / "dense", out / "bm25", "--top-k", TOP_K, "--output", out / "fused")
    names = ["dense", "bm25", "fused"]
    for name in list(names):
        again = ["--corpus", args.data / CORPUS, *texts, "--cross-encoder", args.cross_encoder]
        job("rerank", "--hits", out / name, *again, "--output", out / f"{name}, re-ranked")
    print(" " * 22 + "".join(f"{metric:>12}" for metric in METRICS))
    for name in [each for first in names for each in (first, f"{first}, re-ranked")]:
        measured = out / f"{name} measured"
        job(
            "evaluate_retrieval",
            "--hits",
            out / name,
            "--qrels",
            args.data,
            "--metrics",
            ",".join(METRICS),
            "--output",
            measured,
        )
        figures = read_manifest(str(measured)).about["metrics"]
        print(f"{name:22}" + "".join(f"{figures[metric]:12.4f}" for metric in METRICS), flush=True)


def job(name: str, *flags: object) -> None:
    command = [sys.executable, "-m", f"jobs.{name}", *map(str, flags)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{ended.stdout}")


if __name__ == "__main__":
    main()
