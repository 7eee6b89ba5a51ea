"""Graphs of OpenVINO with tokens as inputs and one vector a text as output: how they are kept, read and compiled."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

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
        masks_padding_only: whether batches without padding can do without a mask.
    """

    dimension: int
    positions: int | None
    vocabulary: int | None
    padding_id: int
    takes_prompt_length: bool
    takes_type_ids: bool
    ignores_type_ids: bool
    masks_padding_only: bool = False


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


def without_mask(graph: Any) -> Any:
    """`graph`, changed to one for batches without padding, whose attention looks at all tokens.

    Written out in single operations, OpenVINO fuses attention with what brings queries, keys and values into place.
    """
    for node in graph.get_ops():
        if node.get_type_name() != "ScaledDotProductAttention":
            continue
        query, key, value, *more = node.input_values()
        usual = ops.constant(np.float32(query.get_partial_shape()[3].get_length() ** -0.5))
        scale = more[1] if len(more) > 1 else usual
        scores = ops.matmul(ops.multiply(query, scale), key, False, True)
        mixed = ops.matmul(ops.softmax(scores, -1), value, False, False).output(0)
        for use in node.output(0).get_target_inputs():
            use.replace_source_output(mixed)
    graph.validate_nodes_and_infer_types()
    return graph


def compiled_request(path: Path, options: LoadOptions, *, masked: bool = True) -> Any:
    """An inference request of the graph `path`, compiled for this machine's CPU.

    Args:
        path: of the graph.
        options: precision and threads.
        masked: batches may hold padding; else see `without_mask`.

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
        core = openvino.Core()
        graph = path if masked else without_mask(core.read_model(path))
        return core.compile_model(graph, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise _cannot_load(path, error) from error


def _cannot_load(path: Path, error: RuntimeError) -> ModelError:
    reason = (str(error).strip() or repr(error)).splitlines()[-1]
    return ModelError(f"OpenVINO cannot load {path}: {reason}", "export it again with jobs.export_model")
