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
# Its exponential is zero.
_MASKED = -1e4
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
        masks_padding_only: whether attention may be written out, see `written_out`.
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


def written_out(graph: Any, *, masked: bool) -> Any:
    """`graph`, changed to one whose attention consists of single operations.

    OpenVINO fuses them with what brings queries, keys and values into place, and runs them faster than its own
    attention. What has another form than usual is left as it is.

    Args:
        graph: of a model in which nothing is masked but padding.
        masked: batches may hold padding; else attention looks at all tokens.
    """
    for node in graph.get_ops():
        if node.get_type_name() != "ScaledDotProductAttention" or not _is_usual(node):
            continue
        query, key, value, *more = node.input_values()
        usual = ops.constant(np.float32(query.get_partial_shape()[3].get_length() ** -0.5))
        scale = more[1] if len(more) > 1 else usual
        scores = ops.matmul(ops.multiply(query, scale), key, False, True)
        if masked and more:
            scores = ops.add(scores, _row_mask(more[0]))
        mixed = ops.matmul(ops.softmax(scores, -1), value, False, False).output(0)
        for use in node.output(0).get_target_inputs():
            use.replace_source_output(mixed)
    graph.validate_nodes_and_infer_types()
    return graph


def _is_usual(attention: Any) -> bool:
    """Whether queries are `[rows, heads, length, head]`, and a mask, if any, is an input of as many dimensions."""
    shapes = [port.get_partial_shape() for port in attention.input_values()]
    usual = all(shape.rank.is_static and len(shape) == 4 for shape in (shapes[0], *shapes[3:4]))
    return usual and shapes[0][3].is_static and not attention.get_attributes()["causal"]


def _row_mask(mask: Any) -> Any:
    """What is added to scores, float32 `[rows, 1, 1, length]`: of the mask, bool or what is added, one query's row."""
    first, second, axis = (ops.constant(np.array([number], np.int32)) for number in (0, 1, 2))
    row = ops.slice(mask, first, second, second, axis)
    if mask.get_element_type() != openvino.Type.boolean:
        return row
    return ops.select(row, ops.constant(np.float32(0)), ops.constant(np.float32(_MASKED)))


def compiled_requests(path: Path, options: LoadOptions, *, masked: bool | None = None) -> list[Any]:
    """Inference requests of the graph `path`, compiled for this machine's CPU; each can be run in a thread of its own.

    A request computes with one of the threads that the options name, since threads that share a batch wait for one
    another; where they name none, there is one request, which computes with all CPUs.

    Args:
        path: of the graph.
        options: precision and threads.
        masked: see `written_out`; None to leave attention as it is.

    Raises:
        ModelError: the file is damaged, or holds what this version cannot run.
    """
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[options.dtype],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": options.threads or 1,
        # Several actors share a machine: pinned, they would all choose the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    if options.threads is not None:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    try:
        core = openvino.Core()
        graph = path if masked is None else written_out(core.read_model(path), masked=masked)
        model = core.compile_model(graph, "CPU", settings)
        return [model.create_infer_request() for _ in range(options.threads or 1)]
    except RuntimeError as error:
        raise _cannot_load(path, error) from error


def _cannot_load(path: Path, error: RuntimeError) -> ModelError:
    reason = (str(error).strip() or repr(error)).splitlines()[-1]
    return ModelError(f"OpenVINO cannot load {path}: {reason}", "export it again with jobs.export_model")
