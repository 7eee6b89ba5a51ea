"""The page itself, and the sections that all jobs have in common."""

from __future__ import annotations

import functools
import json
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from st_ray.core.page import Section, report_page
from st_ray.runtime.report.command import command_of, job_of
from st_ray.runtime.report.sections import seconds_text, stage_sections, time_bars
from st_ray.runtime.resources import Node, cluster_nodes
from st_ray.runtime.result import JobResult
from st_ray.store import fs
from st_ray.store.lineage import Lineage

if TYPE_CHECKING:
    from st_ray.runtime.stage_result import StageResult

PAGE = "report.html"
_LIBRARIES = (
    "st-ray", "ray", "torch", "transformers", "tokenizers", "openvino", "onnxruntime", "faiss-cpu", "faiss-gpu",
    "bm25s", "ir-measures", "numpy", "pyarrow",
)  # fmt: skip
_LONGEST = 300
"""Characters of a part of the lineage."""


def write_report(
    config: Any,
    done: JobResult,
    facts: Mapping[str, str],
    laps: Mapping[str, float],
    stages: Sequence[StageResult] = (),
    own: Iterable[Section] = (),
) -> None:
    """Write the page of a job into its output, before the manifest; see `run_sections`.

    Args:
        facts: at the top.
        own: sections that come first.
    """
    title = job_of(type(config)).replace("_", " ").capitalize()
    sections = [*own, *run_sections(config, done.manifest.lineage, laps, stages)]
    fs.write_atomic(fs.join(done.folder, PAGE), report_page(title, facts, sections))


def run_sections(
    config: Any, lineage: Lineage, laps: Mapping[str, float], stages: Sequence[StageResult] = ()
) -> Iterator[Section]:
    """How a run went, what it was made from and with, and how to repeat it.

    Args:
        config: of the job.
        laps: seconds of the run by what they were spent on.
        stages: what it did, in order.
    """
    machines = _machines()
    text = f"{seconds_text(sum(laps.values()))} by the clock{f', on {machines}' if machines else ''}."
    yield Section("This run", text, picture=time_bars(laps))
    yield from stage_sections(stages)
    yield Section("Run it again", code=command_of(config))
    yield Section("Lineage", "With any other of these it would be another result.", facts=_shown(lineage))
    yield Section("Versions", facts=_versions())


def laps_with(laps: Mapping[str, float], stage: StageResult) -> dict[str, float]:
    """The laps of a start, and after them those of the only stage."""
    first = stage.first_commit_seconds
    return {**laps, "first shard": first, "other shards": max(0.0, stage.seconds - first)}


def _shown(lineage: Lineage) -> dict[str, str]:
    texts = {
        name: value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
        for name, value in lineage.items()
    }
    return {
        name.replace("_", " "): text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
        for name, text in texts.items()
    }


@functools.lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    """Of what is installed where the job was started."""
    found = {}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found | {"python": platform.python_version()}


def _machines() -> str:
    """The machines of the running Ray, alike ones together; empty where there is none."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return ""
    counts = Counter(_machine(node) for node in cluster_nodes() if node.cpus)
    return "; ".join(f"{count} x {machine}" for machine, count in counts.items())


def _machine(node: Node) -> str:
    gpus = f", {node.gpus:g} {node.accelerator or 'GPU'}" if node.gpus else ""
    return f"{node.cpus:g} CPUs{gpus}, {node.memory / (1 << 30):.0f} GiB"
