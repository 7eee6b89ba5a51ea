"""What the encode job tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import human_bytes, human_seconds, render_summary
from st_ray.runtime.encode.job import EncodeResult


def encode_summary(result: EncodeResult, imports: float = 0.0) -> str:
    """Counts, rates, and where things lie; `imports`: the seconds before the job began."""
    manifest, run = result.manifest, result.manifest.run
    lines = {
        "rows": f"{manifest.rows:,} in {len(manifest.entries):,} shards, {human_bytes(manifest.total_bytes)}",
        "embedding": f"{manifest.lineage['precision']}[{manifest.about['dimension']:g}]",
        "model": f"{manifest.about['model']}, {manifest.lineage['backend']} in {manifest.lineage['dtype']}",
    }
    cosine = manifest.about["min_cosine_to_float32"]
    if cosine is not None:
        lines["cosine"] = f"{cosine:.5f} at least, to float32, over a sample"
    if manifest.dropped:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in manifest.dropped.items())
        total = sum(manifest.dropped.values())
        lines["left out"] = f"{total:,} rows, listed in {result.folder}/rejects.parquet: {reasons}"

    if result.already_complete:
        return render_summary("encode: complete already, nothing to do", lines)
    if run["shards_done_before"]:
        lines["resumed"] = f"{run['shards_done_before']:,} shards were committed by an earlier run"
    if run["repeated_texts"]:
        lines["repeated texts"] = f"{run['repeated_texts']:,} rows took the embedding of the same text in their shard"
    rate = run["rows_per_second_after_first_commit"] or run["rows"] / max(run["seconds"], 1e-9)
    model_rate = run["tokens"] / max(run["model_seconds"], 1e-9)
    lines |= {
        "this run": f"{run['rows']:,} rows, {run['tokens']:,} tokens in {human_seconds(imports + run['seconds'])}",
        "start-up": _start_up({**({"imports": imports} if imports else {}), **run["start_up_seconds"]}),
        "rate": f"{rate:,.0f} rows/s; the model {model_rate:,.0f} tokens/s an actor",
        "actors": f"{run['actors']} x {run['threads_per_actor']} threads"
        + (f", {run['gpus_per_actor']:g} GPUs each" if run["gpus_per_actor"] else ""),
        "open with": f"pyarrow.parquet.read_table('{result.folder}/data')",
    }
    return render_summary("encode: complete", lines)


def _start_up(laps: dict[str, float]) -> str:
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in laps.items())
    return f"{sum(laps.values()):.1f} s to the first commit: {parts}"
