"""autofaiss's choice of an index for a file of vectors: `python benchmarks/autofaiss_peer.py --help`.

It imports nothing of st-ray, since autofaiss needs an environment of its own:

    pip install autofaiss==2.18.0 "numpy<2" "pyarrow<21" "faiss-cpu<1.14"

Beside the index it writes a JSON with what was chosen, how it was tuned, how large it is and how long that took.
autofaiss tunes for the time of a query and not for recall, with vectors of the index as queries.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from autofaiss import build_index
from autofaiss.external.optimize import get_optimal_index_keys_v2
from autofaiss.indices import build as last_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", required=True, type=Path, help=".npy file, float32 [n, d]")
    parser.add_argument("--memory", required=True, help="what the index may take, as autofaiss writes it: 500M, 4G")
    parser.add_argument("--output", required=True, type=Path, help="index file; its JSON gets .json in place of .index")
    parser.add_argument("--metric", default="ip", choices=["ip", "l2"])
    parser.add_argument("--available", default="16G", help="memory for building (default 16G)")
    parser.add_argument("--query-ms", type=float, default=10.0, help="what a query may take (default 10, autofaiss's)")
    parser.add_argument("--threads", type=int, default=faiss.omp_get_max_threads())
    parser.add_argument("--key", help="build this one, not what autofaiss would choose")
    parser.add_argument("--choose-only", action="store_true", help="print autofaiss's candidates, and build nothing")
    args = parser.parse_args()
    rows, dimension = np.load(args.vectors, mmap_mode="r").shape
    candidates = list(dict.fromkeys(get_optimal_index_keys_v2(rows, dimension, args.memory)))[:4]
    if args.choose_only:
        print(json.dumps({"rows": rows, "dimension": dimension, "memory": args.memory, "candidates": candidates}))
        return
    figures = build(args)
    asked = {"rows": rows, "dimension": dimension, "memory": args.memory, "candidates": candidates}
    report = json.dumps({**asked, "threads": args.threads, **figures}, indent=1)
    args.output.with_suffix(".json").write_text(report + "\n", encoding="utf-8")
    print(report)


class Stopwatch:
    """A function that also notes how long its calls took."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self, *args: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        try:
            return self._function(*args, **options)
        finally:
            self.seconds += time.perf_counter() - begun


def build(args: argparse.Namespace) -> dict[str, Any]:
    """Build, tune and save the index; its figures."""
    tuning = Stopwatch(last_steps.optimize_and_measure_index)
    last_steps.optimize_and_measure_index = tuning
    with tempfile.TemporaryDirectory() as folder:
        # It reads all files of a folder.
        source = Path(folder, "vectors")
        source.mkdir()
        (source / "vectors.npy").symlink_to(args.vectors.resolve())
        begun = time.perf_counter()
        index, infos = build_index(
            str(source),
            index_path=str(args.output),
            index_infos_path=str(Path(folder, "infos.json")),
            index_key=args.key,
            max_index_memory_usage=args.memory,
            current_memory_available=args.available,
            max_index_query_time_ms=args.query_ms,
            metric_type=args.metric,
            nb_cores=args.threads,
        )
        seconds = time.perf_counter() - begun
    if index is None:
        raise SystemExit(f"autofaiss built nothing within {args.memory}; its log says why")
    return {
        "key": infos["index_key"],
        "parameters": infos["index_param"],
        "build_seconds": seconds - tuning.seconds,
        "tune_and_save_seconds": tuning.seconds,
        "index_bytes": args.output.stat().st_size,
        "infos": {name: str(value) for name, value in infos.items()},
    }


if __name__ == "__main__":
    main()
