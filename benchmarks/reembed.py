"""What the next night costs: `python -m benchmarks.reembed [--help]`.

`jobs.reembed` runs three times over glosses of WordNet: for a first version; after a share of the texts was changed,
added (some of them at the top, so that all rows move) or deleted; and once more with nothing changed. Each run is a
command of its own. Its seconds are those of its manifest; start-up is the start of Ray, and of the model's actors until
the first shard met a loaded model (what is read and matched meanwhile costs nothing on top). What is left, embeddings
and index, is compared with the first run. On a shared machine trust ratios, not times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.encode import MODEL
from benchmarks.jobs import run_job
from benchmarks.texts import glosses
from st_ray.store.manifest import read_manifest
from st_ray.store.versions import EMBEDDINGS, Versions

Rows = list[tuple[str, str]]
"""Ids and texts."""


@dataclass(frozen=True)
class Cost:
    """Of a run, in seconds: embeddings and index without their start-up, and that."""

    encoded: int
    embeddings: float
    index: float
    start_up: float
    index_made: str

    @property
    def work(self) -> float:
        return self.embeddings + self.index


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="glosses of the first version (default 100000)")
    parser.add_argument("--share", type=float, default=0.01, help="of the rows that get another text (default 0.01)")
    parser.add_argument("--flags", default="", help="further flags of jobs.reembed, as one argument")
    args = parser.parse_args()
    count = round(args.rows * args.share)
    texts = glosses(args.rows + count)
    first = [(f"gloss-{row}", text) for row, text in enumerate(texts[: args.rows])]
    second = changed(first, texts[args.rows :], count)
    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in ("first version", first), (f"{args.share:.0%} changed", second), ("nothing changed", second):
            costs[name] = run(Path(folder), rows, args.flags)
    print(f"\n{args.rows:,} glosses")
    print(f"{'':18}{'encoded':>9}{'embeddings':>12}{'index':>9}{'both':>9}{'of the first':>14}{'start-up':>10}  index")
    for name, cost in costs.items():
        print(
            f"{name:18}{cost.encoded:9,}{cost.embeddings:10.1f} s{cost.index:7.1f} s{cost.work:7.1f} s"
            f"{cost.work / costs['first version'].work:14.1%}{cost.start_up:8.1f} s  {cost.index_made}"
        )


def changed(rows: Rows, fresh: list[str], count: int) -> Rows:
    """`count` rows with a text that none had, some of them new, ten of those at the top; and as many new ones gone."""
    rng = random.Random(0)
    new = min(len(fresh), count // 3)
    picked = rng.sample(range(1, len(rows)), count)
    gone, other = {0, *picked[: new - 1]}, set(picked[new:])
    kept = [
        (name, f"{text} (in its second edition)" if row in other else text)
        for row, (name, text) in enumerate(rows)
        if row not in gone
    ]
    for number, text in enumerate(fresh[:new]):
        kept.insert(0 if number < 10 else rng.randrange(len(kept)), (f"new-{number}", text))
    return kept


def run(folder: Path, rows: Rows, flags: str) -> Cost:
    source, root = folder / "corpus.jsonl", folder / "root"
    source.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in rows), encoding="utf-8")
    quoted = [shlex.quote(str(path)) for path in (source, root)]
    run_job(f"reembed --input {quoted[0]} --id-column id --model {MODEL} --output {quoted[1]} {flags}")
    versions = Versions(str(root))
    name = versions.latest()
    if name is None:
        raise SystemExit("no version was made")
    manifest = read_manifest(versions.folder(name))
    seconds, index = manifest.run["seconds"], manifest.about["index"]
    loading = read_manifest(versions.folder(name, EMBEDDINGS)).run["start_up_seconds"]["model"]
    refresh = (index or {}).get("refresh")
    return Cost(
        encoded=manifest.run["encoded"],
        embeddings=seconds["embeddings"] - loading,
        index=seconds["index"],
        start_up=seconds["Ray"] + loading,
        index_made=f"{index['factory']}, {refresh['how'] if refresh else 'built'}" if index else "none",
    )


if __name__ == "__main__":
    main()
