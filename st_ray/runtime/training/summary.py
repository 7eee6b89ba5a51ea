"""What the training jobs tell their user at the end."""

from __future__ import annotations

from st_ray.core.summary import human_seconds, render_summary
from st_ray.runtime.model_output import TRAINING
from st_ray.runtime.result import JobResult
from st_ray.runtime.training.output import REPORT
from st_ray.store import fs


def training_summary(result: JobResult, what: str) -> str:
    """Counts, rates, metrics, and where things lie; `what` was trained."""
    about, run = result.manifest.about, result.manifest.run
    lines = {
        "base": f"{about['base_model']}, {about['parameters']:,} parameters",
        "examples": f"{about['examples']:,} of {about['rows']:,} rows, {about['tokens']:,} tokens an epoch",
        "steps": f"{about['steps']:,}",
    }
    if about["dropped"]:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in about["dropped"].items())
        lines["left out"] = f"{sum(about['dropped'].values()):,} rows: {reasons}"
    if about["metrics"]:
        values = ", ".join(f"{name} {value:.4f}" for name, value in about["metrics"].items())
        lines["measured"] = f"{values} on {about['eval_examples']:,} examples"
    if about["best"]:
        lines["kept"] = f"the model of step {about['best']['step']:,}, the best by {about['primary']}"
    lines["open with"] = f"st_ray.{what}('{result.folder}')"
    lines["report"] = fs.join(result.folder, TRAINING, REPORT)
    if result.already_complete:
        return render_summary("training: complete already, nothing to do", lines)
    if run["resumed_at"]:
        lines["resumed"] = f"at step {run['resumed_at']:,}, from a checkpoint"
    gpus = f", {run['gpus_per_worker']:g} GPUs each" if run["gpus_per_worker"] else ""
    lines["workers"] = f"{run['workers']} x {run['threads_per_worker']} threads{gpus}"
    if run["examples_per_second"]:
        lines["rate"] = f"{run['examples_per_second']:,.0f} examples/s"
    laps = ", ".join(f"{name} {count:.1f}" for name, count in run["seconds_of"].items())
    lines["took"] = f"{human_seconds(run['seconds'])}: {laps} s"
    return render_summary("training: complete", lines)
