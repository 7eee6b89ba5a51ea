"""An index that is refreshed beside one that is built anew: `python -m benchmarks.refresh [--help]`.

A share of the rows changes: half of them are replaced, a quarter goes and a quarter comes at the top, so that all rows
get another number. A graph, which can only be added to, is given all at its end. Each index is made by a command of its
own; its seconds begin when Ray has started.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np

from benchmarks.jobs import run_job
from benchmarks.vectors import clustered, write_store
from st_ray.store.manifest import read_manifest

START = ("input", "Ray")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--factories", nargs="+", default=["auto", "Flat", "HNSW32"])
    args = parser.parse_args()
    changed = int(args.rows * args.changed)
    vectors = clustered(args.rows + changed, args.dimension)
    old = np.arange(args.rows)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in {
            "old": old,
            "edited": edited(old, changed),
            "longer": np.arange(args.rows + changed),
        }.items():
            write_store(
                f"{folder}/{name}", (vectors[rows[at : at + 8192]] for at in range(0, len(rows), 8192)), numbers=rows
            )
        for factory in args.factories:
            now = "longer" if factory.startswith("HNSW") else "edited"
            taken = {}
            for name, flags in (
                ("old", f"--embeddings {folder}/old"),
                ("rebuilt", f"--embeddings {folder}/{now}"),
                ("refreshed", f"--embeddings {folder}/{now} --refresh {folder}/old-{factory}"),
            ):
                run_job(f"build_index {flags} --output {folder}/{name}-{factory} --factory {factory}")
                manifest = read_manifest(f"{folder}/{name}-{factory}")
                taken[name] = {step: each for step, each in manifest.run["seconds"].items() if step not in START}
            if manifest.about["refresh"]["how"] != "refreshed":
                raise SystemExit(f"{factory}: {manifest.about['refresh']['why']}")
            rebuilt, refreshed = sum(taken["rebuilt"].values()), sum(taken["refreshed"].values())
            steps = ", ".join(f"{step} {each:.1f}" for step, each in taken["refreshed"].items())
            lines.append(
                f"{manifest.about['factory']:<20}{rebuilt:8.1f} s rebuilt{refreshed:8.1f} s refreshed   ({steps})"
            )
    print(f"\n{args.rows:,} x {args.dimension}, {changed:,} changed, after Ray's start", *lines, sep="\n")


def edited(rows: np.ndarray, changed: int) -> np.ndarray:
    """`rows` with a few others; numbers from `len(rows)` on are those of new ones."""
    rng = np.random.default_rng(0)
    at = rng.choice(len(rows), changed * 3 // 4, replace=False)
    new = len(rows) + np.arange(changed * 3 // 4)
    gone, replaced = at[: changed // 4], at[changed // 4 :]
    now = rows.copy()
    now[replaced] = new[: len(replaced)]
    return np.concatenate([new[len(replaced) :], np.delete(now, gone)])


if __name__ == "__main__":
    main()
