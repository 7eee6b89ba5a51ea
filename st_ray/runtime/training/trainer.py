"""Ray Train runs the processes that train; how far they are, and what is said where they are lost."""

from __future__ import annotations

import os
import threading
from typing import Any

from st_ray.core.errors import ShardError, StRayError
from st_ray.core.summary import human_seconds
from st_ray.runtime.log import Line
from st_ray.runtime.meter import ELAPSED
from st_ray.runtime.session import raise_if_stopped
from st_ray.runtime.training.machines import Machines
from st_ray.runtime.training.worker import TrainTask, train_worker
from st_ray.store import fs
from st_ray.store.journal import CHECKPOINTS

_KEPT = 2


def training_line(now: dict[str, float], steps: int, metric: str | None) -> Line:
    """`train  120/360 steps (33%)  loss 0.5123  95 examples/s  2,400 tokens/s  spearman 0.8321  ETA 1m12s`."""
    done, seconds = now.get("step", 0.0), now.get(ELAPSED, 0.0)
    figures: dict[str, Any] = {"stage": "train", "steps": round(done), "steps_total": steps}
    head = f"train  {done:,.0f}/{steps:,} steps ({100 * done / max(steps, 1):.0f}%)"
    taken = now.get("steps", 0.0)
    if not seconds or not taken:
        return Line(f"{head}  starting", figures)
    rate, tokens = now.get("rows", 0) / seconds, now.get("tokens", 0) / seconds
    left = max(0.0, steps - done) * seconds / taken
    figures |= {"rate": round(rate, 1), "tokens_per_second": round(tokens, 1), "eta_seconds": round(left, 1)}
    figures |= {name: now[name] for name in ("loss", f"eval {metric}") if name in now}
    loss = f"  loss {now['loss']:.4f}" if "loss" in now else ""
    measured = f"  {metric} {now[f'eval {metric}']:.4f}" if f"eval {metric}" in now else ""
    speed = f"{rate:,.0f} examples/s  {tokens:,.0f} tokens/s"
    return Line(f"{head}{loss}  {speed}{measured}  ETA {human_seconds(left)}", figures)


def run_trainer(task: TrainTask, machines: Machines, staging: str) -> dict[str, Any]:
    """Run `train_worker` in as many processes as the machines say.

    Checkpoints go to `staging`/checkpoints, and a run that finds some there goes on from the last one.

    Raises:
        ShardError: processes were lost too often.
        Stopped: the job was asked to stop.
    """
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative paths are those of the driver
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    # So often are processes asked for checkpoints; one waits until the one before has been taken.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    import pyarrow.fs
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    filesystem, path = fs.open_fs(staging)
    gpu = machines.gpus > 0
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=task,
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=machines.workers, use_gpu=gpu, resources_per_worker=machines.resources
        ),
        run_config=ray.train.RunConfig(
            name=CHECKPOINTS,
            storage_path=path,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=_KEPT),
            failure_config=ray.train.FailureConfig(max_failures=3),
        ),
    )
    outcome: dict[str, Any] = {}

    def fit() -> None:
        try:
            outcome["result"] = trainer.fit()
        except BaseException as error:
            outcome["error"] = error

    # In a thread of its own: in the main one it would put its own handler for Ctrl-C in place of the job's.
    thread = threading.Thread(target=fit, name="trainer", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.5)
        raise_if_stopped()
    if "error" in outcome:
        raise _lost(outcome["error"]) from outcome["error"]
    found: dict[str, Any] = outcome["result"].return_value
    return found


def _lost(error: BaseException) -> StRayError:
    if isinstance(error, StRayError):
        return error
    lines = [line for line in str(error).splitlines() if line.strip()]
    made = ShardError(
        f"training failed: {type(error).__name__}: {lines[-1].strip() if lines else ''}",
        "run the same command again to go on from the last checkpoint; --debug shows more",
    )
    made.details = str(error)
    return made
