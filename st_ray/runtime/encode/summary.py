"""What the encode job tells its user at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_ray.core.summary import (
    actors_line,
    computed,
    human_bytes,
    human_seconds,
    job_summary,
    render_summary,
    start_up_line,
)
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult

if TYPE_CHECKING:
    from st_ray.runtime.encode.plan import EncodePlan


def encode_summary(result: JobResult, imports: float = 0.0) -> str:
    """Counts, rates, and where things lie; `imports`: the seconds before the job began."""
    lines = encode_facts(result, imports)
    lines |= {
        "open with": f"pyarrow.parquet.read_table('{result.folder}/data')",
        "report": f"{result.folder}/{PAGE}",
    }
    return job_summary("encode", lines, already=result.already_complete)


def encode_facts(result: JobResult, imports: float = 0.0) -> dict[str, str]:
    """What was made and, unless that was before, how."""
    manifest, run = result.manifest, result.manifest.run
    lines = {
        "rows": f"{manifest.rows:,} in {len(manifest.entries):,} shards, {human_bytes(manifest.total_bytes)}",
        "embedding": f"{manifest.lineage['precision']}[{manifest.about['dimension']:g}]",
        "model": f"{manifest.about['model']}, {computed(manifest.lineage)}",
    }
    cosine = manifest.about["min_cosine_to_float32"]
    if cosine is not None:
        lines["cosine"] = f"{cosine:.5f} at least, to float32, over a sample"
    if manifest.dropped:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in manifest.dropped.items())
        total = sum(manifest.dropped.values())
        lines["left out"] = f"{total:,} rows, listed in {result.folder}/rejects.parquet: {reasons}"

    if result.already_complete:
        return lines
    if run["shards_done_before"]:
        lines["resumed"] = f"{run['shards_done_before']:,} shards were committed by an earlier run"
    if run["repeated_texts"]:
        lines["repeated texts"] = f"{run['repeated_texts']:,} rows took the embedding of the same text in their shard"
    if "reused" in run:
        encoded = run["rows"] - run["reused"] - run["repeated_texts"]
        gone = "" if run["gone"] is None else f", {run['gone']:,} of the old rows gone"
        lines["reused"] = f"{run['reused']:,} rows from the old store, {encoded:,} texts encoded{gone}"
    rate = run["rows_per_second_after_first_commit"] or run["rows"] / max(run["seconds"], 1e-9)
    model_rate = run["tokens"] / max(run["model_seconds"], 1e-9)
    return lines | {
        "this run": f"{run['rows']:,} rows, {run['tokens']:,} tokens in {human_seconds(imports + run['seconds'])}",
        "start-up": start_up_line({**({"imports": imports} if imports else {}), **run["start_up_seconds"]}),
        "rate": f"{rate:,.0f} rows/s; the model {model_rate:,.0f} tokens/s an actor",
        "actors": actors_line(run),
    }


def plan_summary(plan: EncodePlan) -> str:
    """What a run would do, and how long it would take."""
    return render_summary("encode: plan, nothing was started or written", plan_lines(plan))


def plan_lines(plan: EncodePlan) -> dict[str, str]:
    """The same as the lines of a summary."""
    lengths = plan.lengths
    low, middle, high = np.percentile(lengths, [5, 50, 95]) if len(lengths) else (0, 0, 0)
    lines = {
        "rows": f"{plan.rows:,} in {plan.shards:,} shards"
        + (f", {plan.bad_rows:,} of them to be left out" if plan.bad_rows else ""),
    }
    if plan.reused or plan.gone:
        lines["reused"] = (
            f"{plan.reused:,} rows from the old store, {plan.encoded:,} to encode, {plan.gone:,} of the old rows gone"
        )
    lines |= {
        "tokens": f"{plan.tokens:,.0f}, by a sample of {len(lengths):,} texts",
        "of a text": f"{lengths.mean() if len(lengths) else 0:.1f} on average; 5 % have up to {low:.0f}, half up to "
        f"{middle:.0f}, 95 % up to {high:.0f}, the longest {lengths.max(initial=0)}",
        "model": str(plan.compute),
        "measured": f"{plan.rate:,.0f} tokens/s an actor of {plan.threads} threads, {len(plan.probes)} at once",
        "estimate": f"{human_seconds(plan.seconds)} with {plan.actors} actors",
    }
    if plan.truncated:
        lines["cut"] = f"{plan.truncated:.0%} of the texts are as long as the longest: cut, most likely"
    if plan.cost is not None:
        lines["cost"] = f"{plan.cost:,.2f} at {plan.price_per_hour:g} an actor and hour"
    return lines
