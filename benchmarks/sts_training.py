"""What training gives on the STS benchmark: `python -m benchmarks.sts_training --data FOLDER --output FOLDER`.

From all-MiniLM-L6-v2: a cross-encoder; a bi-encoder with each loss; and a student with two of its six layers, trained
on labels alone and on the logits of that cross-encoder. The data folder holds train.csv and dev.csv without header:
sentence, sentence, score from 0 to 5. Every step is a job, and its command is printed; a second run goes on where the
first one stopped. At the end stands the rank correlation (Spearman) with the scores of dev.csv.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shlex
from pathlib import Path

from benchmarks.jobs import run_job
from benchmarks.sts_cross_encoder import BASE
from st_ray.store.manifest import read_manifest

PAIRS = "--columns sentence1,sentence2,score"
LOSSES = ("cosine", "cosent", "angle")


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv and dev.csv")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--layers", default="0,5", help="layers of the student")
    parser.add_argument("--student-epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=12)
    args = parser.parse_args()
    data, out = (Path(shlex.quote(str(path))) for path in (args.data, args.output))
    dev = f"{PAIRS} --eval-data {data}/dev.csv --evaluator correlation --seed {args.seed}"
    labels = f"--data {data}/train.csv --label-scale 5 {dev}"
    student = f"--keep-layers {args.layers} --epochs {args.student_epochs} --lr 1e-4"
    cross_encoder = f"train_cross_encoder --base-model {BASE}"
    run_job(f"{cross_encoder} {labels} --epochs 2 --lr 5e-5 --output {out}/cross-encoder")
    run_job(f"""score_pairs --data {data}/train.csv {PAIRS} --text-columns sentence1,sentence2
        --cross-encoder {out}/cross-encoder --activation identity --output {out}/logits""")
    run_job(f"{cross_encoder} {labels} {student} --output {out}/student-of-labels")
    run_job(f"{cross_encoder} --data {out}/logits/data {dev} {student} --loss mse --output {out}/student-of-logits")
    bi_encoder = f"train_bi_encoder --base-model {BASE} --epochs 2"
    for loss in ("cosine", "cosent"):
        run_job(f"{bi_encoder} {labels} --loss {loss} --output {out}/{loss}")
    write_both_ways(args.data / "train.csv", args.output / "both-ways.csv")
    run_job(f"""{bi_encoder} --data {out}/both-ways.csv --label-scale 5 {dev} --loss angle --lr 5e-5
        --output {out}/angle""")
    run_job(f"""evaluate_similarity --data {data}/dev.csv {PAIRS} --text-columns sentence1,sentence2
        --label-column score --model {BASE} --output {out}/untrained""")
    print("\nrank correlation (Spearman) with the scores of dev.csv")
    for name in ("cross-encoder", "student-of-labels", "student-of-logits", *LOSSES):
        found = read_manifest(str(args.output / name))
        best, seconds = found.about["best"], found.run["seconds"]
        print(f"  {name:<20}{best['value']:.4f}   {found.about['parameters']:>12,} parameters   {seconds:6.0f} s")


def write_both_ways(source: Path, target: Path) -> None:
    """Write every pair, and again with its sentences exchanged: the similarity that AnglE trains is not symmetric."""
    with source.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*rows, *([second, first, score] for first, second, score in rows)])
    if not target.exists() or target.read_text(encoding="utf-8") != text.getvalue():
        target.write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main()
