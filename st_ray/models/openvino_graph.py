"""Graphs of OpenVINO with tokens as inputs and one vector a text as output: how they are kept, read and compiled."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino

from st_ray.core.errors import ModelError
from st_ray.models.options import LoadOptions

GRAPH = "model.xml"
"""The file of a graph in its folder; its weights and its facts lie beside it."""
_FACTS = "facts.json"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


@dataclass(frozen=True)
class GraphFacts:
    """What must be known of a graph to run it without loading the model it was made from.

    Attributes:
        dimension: of an embedding, before truncation; of a classifier, its labels.
        positions: tokens that a text may have at most; None where nothing bounds them.
        vocabulary: number of token ids that are known; None where nothing bounds them.
        padding_id: what to fill padded places with.
        takes_prompt_length: whether pooling leaves the prompt out, whose length is then a third input.
        takes_type_ids: whether the type ids of tokens are an input.
        ignores_type_ids: whether type ids change nothing.
    """

    dimension: int
    positions: int | None
    vocabulary: int | None
    padding_id: int
    takes_prompt_length: bool
    takes_type_ids: bool
    ignores_type_ids: bool


def write_facts(folder: Path, facts: GraphFacts) -> None:
    """Keep the facts of the graph in `folder` beside it."""
    (folder / _FACTS).write_text(json.dumps(dataclasses.asdict(facts)), encoding="utf-8")


def read_facts(folder: Path) -> GraphFacts:
    """What `write_facts` has kept."""
    return GraphFacts(**json.loads((folder / _FACTS).read_text(encoding="utf-8")))


def read_graph(path: Path) -> Any:
    """The graph `path` (an openvino.Model).

    Raises:
        ModelError: the file is damaged, or holds what this version does not know.
    """
    try:
        return openvino.Core().read_model(path)
    except RuntimeError as error:
        raise _cannot_load(path, error) from error


def compiled_request(path: Path, options: LoadOptions) -> Any:
    """An inference request of the graph `path`, compiled for this machine's CPU.

    Raises:
        ModelError: the file is damaged, or holds what this version cannot run.
    """
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[options.dtype],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Several actors share a machine: pinned, they would all choose the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    if options.threads is not None:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    try:
        return openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise _cannot_load(path, error) from error


def _cannot_load(path: Path, error: RuntimeError) -> ModelError:
    reason = (str(error).strip() or repr(error)).splitlines()[-1]
    return ModelError(f"OpenVINO cannot load {path}: {reason}", "export it again with jobs.export_model")
