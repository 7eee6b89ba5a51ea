"""The output of a training: a model folder, with what tells of its training beside the model's own files.

OUTPUT/                       config.json, model.safetensors, tokenizer.json and so on
OUTPUT/README.md              the model card
OUTPUT/training/report.html   curves of loss and metrics
OUTPUT/training/history.jsonl the records behind them
OUTPUT/training/events        the same for TensorBoard
OUTPUT/staging                while it is trained: examples and checkpoints
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from st_ray.core.page import Section, report_page
from st_ray.core.summary import human_seconds
from st_ray.models.source import hub_id
from st_ray.runtime.model_output import TRAINING
from st_ray.runtime.training.base import BaseModel, CrossEncoderBase
from st_ray.runtime.training.config import TrainConfig
from st_ray.runtime.training.curves import loss_curve, metric_curve, rate_curve
from st_ray.store import fs
from st_ray.training.card import CardFacts, model_card
from st_ray.training.history import Record

MODEL = "trained model"
REPORT = "report.html"
EVENTS = "events"
HISTORY = "history.jsonl"


def write_report(
    config: TrainConfig, folder: str, about: Mapping[str, Any], history: list[Record], of_run: Iterable[Section]
) -> None:
    """Write the report page; the sections `of_run` come last."""
    page = training_page(config, about, history, of_run)
    fs.write_atomic(fs.join(folder, TRAINING, REPORT), page)


def write_card(
    config: TrainConfig, base: BaseModel, folder: str, about: Mapping[str, Any], lineage: Mapping[str, Any]
) -> None:
    """Write the model card."""
    pairs = isinstance(base, CrossEncoderBase)
    data = {"files": ", ".join(about["data"]), "rows": f"{about['rows']:,}"}
    settings = {
        "epochs": f"{config.epochs:g}",
        "steps": f"{about['steps']:,}",
        "batch size": config.batch_size,
        "learning rate": f"{config.lr:g}",
        "warm-up": f"{config.warmup_ratio:g} of the steps",
        "weight decay": f"{config.weight_decay:g}",
        "arithmetic": lineage["dtype"],
        "seed": config.seed,
    }
    named = config.name or ", ".join(about["eval_data"])
    facts = CardFacts(
        name=posixpath.basename(folder.rstrip("/")),
        is_cross_encoder=pairs,
        outputs=about["outputs"],
        max_length=about["max_length"],
        base_model=config.base_model,
        base_model_id=hub_id(config.base_model),
        loss=config.loss,
        data=data,
        examples=about["examples"],
        settings=settings,
        metrics={named: about["metrics"]} if about["metrics"] else {},
        lineage={name: value for name, value in lineage.items() if isinstance(value, str)} | installed(),
    )
    fs.write_atomic(fs.join(folder, "README.md"), model_card(facts).encode())


def installed() -> dict[str, str]:
    """Versions of what a trained model depends on."""
    return {name: version(name) for name in ("st-ray", "torch", "transformers", "ray")}


def training_page(
    config: TrainConfig, about: Mapping[str, Any], history: list[Record], of_run: Iterable[Section]
) -> bytes:
    """The report: what was trained on what, the curves, and the sections `of_run`."""
    best = about["best"]
    facts = {
        "base model": config.base_model,
        "loss": config.loss,
        "examples": f"{about['examples']:,} of {', '.join(about['data'])}",
        "steps": f"{about['steps']:,} of {config.batch_size} examples, {config.epochs:g} epochs",
        "learning rate": f"{config.lr:g} after {config.warmup_ratio:.0%} of warm-up",
        "parameters": f"{about['parameters']:,}",
    }
    if history:
        facts["took"] = human_seconds(history[-1].time - history[0].time)
    if about["metrics"]:
        measured = ", ".join(f"{name} {value:.4f}" for name, value in about["metrics"].items())
        at = f"step {best['step']:,}" if best else "the end"
        facts["kept"] = f"the model of {at}: {measured}, on {about['eval_examples']:,} examples"
    if about["dropped"]:
        facts["left out"] = "; ".join(f"{count:,} rows: {reason}" for reason, count in about["dropped"].items())
    return report_page(about["name"] or "Training", facts, [*_sections(about, history), *of_run])


def _sections(about: Mapping[str, Any], history: list[Record]) -> list[Section]:
    if not history:
        return []
    sections = [
        Section("Loss", "Means over the steps since the record before.", picture=loss_curve(history)),
    ]
    measured = [record for record in history if record.metrics]
    names = list(dict.fromkeys(name for record in measured for name in record.metrics))
    names.sort(key=lambda name: name != about["primary"])  # the one that decides comes first
    step = about["best"]["step"] if about["best"] else None
    for name in names[:4]:
        sections.append(Section(name, picture=metric_curve(history, name, step)))
    sections.append(Section("Learning rate", picture=rate_curve(history)))
    if measured:
        rows = [("step", "epoch", "loss", *names)]
        for record in measured:
            values = (f"{record.metrics[name]:.4f}" if name in record.metrics else "" for name in names)
            rows.append((f"{record.step:,}", f"{record.epoch:.2f}", f"{record.loss:.4f}", *values))
        sections.append(Section("Measurements", rows=rows))
    return sections
