"""What the paraphrase job tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import human_seconds, render_summary
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult


def mine_paraphrases_summary(result: JobResult) -> str:
    """Counts, what an index overlooked, times, and where things lie."""
    manifest, run, about = result.manifest, result.manifest.run, result.manifest.about
    lines = {
        "rows": f"{about['rows']:,} of {about['embeddings']}, {about['rows_in_no_pair']:,} of them in no pair",
        "pairs": f"{about['pairs']:,} in {len(manifest.entries):,} parts, "
        + ("as many as asked for" if about["pairs"] == about["max_pairs"] else "all there are")
        + f", of the best {about['top_k']:,} of each row",
    }
    if about["pairs"]:
        lines["scores"] = f"{about['similarity']}, from {about['best_score']:.4f} to {about['last_score']:.4f}"
    if about["index"] is not None:
        parameter = f", parameter {about['parameter']}" if about["parameter"] else ""
        lines["index"] = f"{about['index']}, {about['factory']}{parameter}"
        lines["recall"] = _recall(about["recall"])
    lines["report"] = f"{result.folder}/{PAGE}"
    if result.already_complete:
        return render_summary("mine_paraphrases: complete already, nothing to do", lines)
    done_before = {name: count for name, count in run["shards_done_before"].items() if count}
    if done_before:
        counts = ", ".join(f"{name} {count:,}" for name, count in done_before.items())
        lines["resumed"] = f"shards that were committed by an earlier run: {counts}"
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["seconds_of"].items())
    lines["this run"] = f"{human_seconds(run['seconds'])}, in seconds: {spent}"
    if [count for name, count in run["shards_done_before"].items() if name.endswith("/compare")] == [0]:
        rate = about["rows"] ** 2 / 2 / max(run["seconds_of"]["compare"], 1e-9)
        lines["rate"] = f"{rate:,.0f} pairs of rows compared a second"
    return render_summary("mine_paraphrases: complete", lines)


def _recall(recall: dict[str, float] | None) -> str:
    if not recall or recall["recall"] is None:
        return "not known: there is no pair to measure it by"
    return (
        f"{recall['recall']:.4f}: {recall['found']:,} of the {recall['pairs']:,} pairs that "
        f"{recall['rows']:,} rows should have"
    )
