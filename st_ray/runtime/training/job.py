"""The jobs that train: examples are prepared, processes train, and what they leave is described."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from st_ray.core.environment import is_installed
from st_ray.core.errors import ConfigError, ResourceError, ShardError, StRayError
from st_ray.runtime.clock import Laps
from st_ray.runtime.joining import job_session
from st_ray.runtime.log import Line
from st_ray.runtime.meter import Meter
from st_ray.runtime.metrics import StageMetrics
from st_ray.runtime.model_output import TRAINING, ModelOutput
from st_ray.runtime.progress import Progress
from st_ray.runtime.report.page import run_sections
from st_ray.runtime.resources import cluster_can_grow, cluster_nodes
from st_ray.runtime.result import JobResult
from st_ray.runtime.session import data_context
from st_ray.runtime.training.base import BaseModel, CrossEncoderBase, base_model
from st_ray.runtime.training.config import TrainConfig
from st_ray.runtime.training.data import TrainData, train_data
from st_ray.runtime.training.machines import Machines, choose_dtype, plan_machines
from st_ray.runtime.training.output import MODEL, write_card, write_report
from st_ray.runtime.training.prepare import PreparedExamples
from st_ray.runtime.training.trainer import run_trainer, training_line
from st_ray.runtime.training.worker import Evaluation, TrainTask
from st_ray.store import fs
from st_ray.store.journal import CHECKPOINTS, StagePlan, note_stage
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest
from st_ray.store.output import STAGING
from st_ray.training.history import Record
from st_ray.training.settings import Settings

INPUTS = fs.join(TRAINING, "inputs.json")
"""File of the output that says which examples the model is trained on."""
_CHECKPOINT_STEPS = 500


def train_model(config: TrainConfig, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end. The output is a model folder that st-ray and Sentence Transformers load.

    Args:
        config: see `TrainConfig`.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad flags, data, base model, output or resources, before any weight is loaded; ShardError where the
            processes were lost again and again, or the loss was not finite. Checkpoints stay.
    """
    laps = Laps()
    if not is_installed("tensorboardX"):
        raise ResourceError("training needs packages that are not installed", "pip install 'st-ray[train]'")
    output = ModelOutput(config.output, MODEL)
    output.check_usable()
    base = base_model(config)
    data = train_data(config, base, fs.join(output.folder, STAGING))
    begun = None if config.overwrite else output.begun_lineage()
    finished = None if config.overwrite else output.manifest()
    if finished is not None and begun is not None and finished.about["stamps"] == data.stamps:
        output.check_lineage(_lineage(config, base, begun["dtype"]))
        return JobResult(finished, output.folder, already_complete=True)
    with ExitStack() as stack:
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        laps.end("input and model")

        (session or stack).enter_context(job_session(config))
        data_context(config.debug)
        nodes = cluster_nodes()
        machines = plan_machines(config, nodes, cluster_can_grow())
        laps.end("Ray")
        dtype = begun["dtype"] if begun and config.dtype == "auto" else choose_dtype(config, machines.gpus > 0, nodes)
        output.begin(_lineage(config, base, dtype))
        try:
            trained, held_out = data.prepare(lock)
            run = _Run(config, base, data, trained, held_out, machines, dtype, output)
            run.check()
        except StRayError:
            if begun is None:
                output.clear()  # so that mended flags do not meet the old ones
            raise
        output.settle_inputs(INPUTS, run.inputs)
        if finished is not None:
            output.finish(finished)
            return JobResult(finished, output.folder, already_complete=True)
        laps.end("examples")
        found = run.fit()
        laps.end("training")
        lock.require_held(output.folder)
        about = run.about(found)
        lineage, history = {**run.lineage, **run.inputs}, [Record.from_json(record) for record in found["history"]]
        write_report(config, output.folder, about, history, run_sections(config, lineage, laps.seconds))
        write_card(config, base, output.folder, about, lineage)
        laps.end("report")
        figures = {**run.figures(found), "seconds_of": laps.seconds, "seconds": round(sum(laps.seconds.values()), 3)}
        output.finish(manifest := Manifest(MODEL, run.lineage, (), about, figures))
    return JobResult(manifest, output.folder)


@dataclass
class _Run:
    """What is settled before the first step."""

    config: TrainConfig
    base: BaseModel
    data: TrainData
    trained: PreparedExamples
    held_out: PreparedExamples | None
    machines: Machines
    dtype: str
    output: ModelOutput

    def check(self) -> None:
        """Settle the head.

        Raises:
            ConfigError: the data have more classes than the head, or the evaluator cannot measure what is trained.
            InputError: there is nothing to rank for the evaluator that ranks.
        """
        if isinstance(self.base, CrossEncoderBase) and self.config.loss == "ce":
            self.base = self.base.with_classes(self.trained.classes)
            labels = self.base.inspect().labels
            if self.trained.classes > labels:
                raise ConfigError(
                    f"--data has labels up to {self.trained.labels[1]:g}, and the model has {labels} classes",
                    "mend the labels, or use a base without a head, which gets a new one",
                )
        held_out, evaluation = self.held_out, self.evaluation
        if held_out is not None and evaluation is not None:
            evaluator = evaluation.by(self.config.loss)
            if evaluator.name == "reranking":
                held_out.check_ranking()

    @property
    def lineage(self) -> Lineage:
        return _lineage(self.config, self.base, self.dtype)

    @property
    def inputs(self) -> Lineage:
        """What identifies the examples."""
        held_out = self.held_out
        return {"examples": self.trained.digest, "eval_examples": held_out.digest if held_out is not None else None}

    @property
    def evaluation(self) -> Evaluation | None:
        """What the model is measured on while it is trained."""
        found, request = self.held_out, self.data.evaluation
        if found is None or request is None:
            return None
        ranked = request.layout.format != "pairs" and found.mixed > 0
        return Evaluation(found.urls, found.digest, self.config.evaluator, found.binary, ranked)

    @property
    def settings(self) -> Settings:
        """How it is trained."""
        config, evaluation = self.config, self.evaluation
        plain = Settings(epochs=config.epochs, batch_size=config.batch_size)
        steps = plain.plan(self.trained.examples)
        every = config.eval_steps or steps.steps_per_epoch
        return Settings(
            epochs=config.epochs,
            batch_size=config.batch_size,
            micro_batch_size=config.micro_batch_size,
            lr=config.lr,
            warmup_ratio=config.warmup_ratio,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            dtype=self.dtype,
            seed=config.seed,
            grouped=config.length_grouped,
            log_steps=config.log_steps,
            eval_steps=config.eval_steps if evaluation else None,
            checkpoint_steps=config.checkpoint_steps or min(every, _CHECKPOINT_STEPS),
            best_by=evaluation.by(config.loss).primary if evaluation else None,
        )

    def fit(self) -> dict[str, Any]:
        """Run the processes, from the last checkpoint on if there is one; what `train_worker` returns.

        Raises:
            ShardError: they were lost too often, or the loss was not finite.
        """
        meter = Meter()
        settings = self.settings
        task = TrainTask(
            self.base,
            self.config.loss,
            self.trained.urls,
            self.trained.digest,
            self.evaluation,
            settings,
            self.output.folder,
            self.machines.threads,
            meter.client(),
        )
        plan = settings.plan(self.trained.examples)
        note_stage(self.output.folder, StagePlan("train", "steps", (plan.steps,), None, round(time.time(), 3)))
        metrics = StageMetrics("train", self.output.folder)

        def line() -> Line:
            totals = meter.read()
            metrics.worked(totals)
            return training_line(totals, plan.steps, settings.best_by)

        with Progress(line):
            found = run_trainer(task, self.machines, fs.join(self.output.folder, STAGING))
        if "stopped" in found:
            stopped = found["stopped"]
            where = fs.join(self.output.folder, STAGING, CHECKPOINTS)
            raise ShardError(f"{stopped['message']}\n     checkpoints are kept in {where}", stopped["remedy"])
        return found

    def about(self, found: dict[str, Any]) -> dict[str, Any]:
        """What a reader of the model wants to know."""
        config, trained, held_out = self.config, self.trained, self.held_out
        measured = [record for record in found["history"] if record["metrics"]]
        kept = found["best"]["step"] if found["best"] else found["steps"]
        metrics: dict[str, float] = next((record["metrics"] for record in measured if record["step"] == kept), {})
        return {
            "base_model": config.base_model,
            "loss": config.loss,
            "data": list(config.data),
            "name": config.name,
            "examples": trained.examples,
            "rows": trained.rows,
            "dropped": dict(trained.dropped),
            "tokens": trained.tokens,
            "eval_data": list(config.eval_data),
            "eval_examples": held_out.examples if held_out is not None else 0,
            "metrics": metrics,
            "best": found["best"],
            "primary": self.settings.best_by,
            "steps": found["steps"],
            "parameters": found["parameters"],
            "outputs": found["outputs"],
            "max_length": self.data.maker.max_length,
            "stamps": self.data.stamps,
        }

    def figures(self, found: dict[str, Any]) -> dict[str, Any]:
        """How the run went."""
        history = found["history"]
        rates = sorted(record["examples_per_second"] for record in history)
        return {
            "resumed_at": found["resumed_at"],
            "workers": self.machines.workers,
            "threads_per_worker": self.machines.threads,
            "gpus_per_worker": self.machines.gpus,
            "examples_per_second": rates[len(rates) // 2] if rates else None,
        }


def _lineage(config: TrainConfig, base: BaseModel, dtype: str) -> Lineage:
    """What of the flags shows in the weights; which examples there are, `INPUTS` says."""
    optimisation = ("loss", "epochs", "batch_size", "lr", "warmup_ratio", "weight_decay", "max_grad_norm", "seed")
    others = ("length_grouped", "label_scale", "max_seq_length", "eval_steps", "evaluator")
    own = {name: getattr(config, name) for name in (*optimisation, *others)}
    return {"base_model": base.digest, "keep_layers": list(config.layers), **own, "dtype": dtype}
