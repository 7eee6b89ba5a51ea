"""An exported OpenVINO graph joined with what stands before and behind it: tokens in, one vector a text out.

Outside a graph, masks of int64 have to be made for every batch, and the states of all tokens are copied out of it to be
pooled. Inside, both cost next to nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13 as ops

from st_ray.core.errors import ModelError
from st_ray.models.bert_layers import masks_padding_only
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_checks import cannot_run, check_inputs, check_labels
from st_ray.models.graph_files import IDS, INPUTS, MASK, TYPES
from st_ray.models.openvino_checks import is_same_written_out, run_graph, same_direction, same_logits, trial_batches
from st_ray.models.openvino_graph import GRAPH, GraphFacts, read_graph, write_facts
from st_ray.models.options import LoadOptions
from st_ray.models.specs import ClassifierSpec, PoolingSpec, TransformerSpec
from st_ray.models.tail import Tail
from st_ray.models.tracing import tracing
from st_ray.models.transformer import model_outline

# Tokens of the text that tries a graph out.
_PROBE = 8


def join_graph(exported: Path, folder: ModelFolder, options: LoadOptions, target: Path) -> None:
    """Write the graph `exported` of a model folder, joined, and its facts into the folder `target`.

    The inputs are those of `converted_model`.

    Raises:
        ModelError: the graph is damaged, or is not one of this folder's model.
    """
    spec = folder.first
    if not isinstance(spec, TransformerSpec):
        raise ModelError(f"{folder.path} is a table of embeddings, nothing for a graph", "use --backend torch")
    graph = read_graph(exported)
    inputs = {_name(port): port for port in graph.inputs}
    check_inputs(inputs, folder.path)
    width = _width(graph, inputs, folder.path)
    ids, lengths = ops.parameter([-1, -1], np.int32, name="ids"), ops.parameter([-1], np.int32, name="lengths")
    classifier = isinstance(spec, ClassifierSpec)
    more = []
    if classifier and TYPES in inputs:
        more = [ops.parameter([-1, -1], np.int32, name="type_ids")]
    elif not classifier and any(isinstance(one, PoolingSpec) and not one.include_prompt for one in folder.modules):
        more = [ops.parameter([1], np.int32, name="prompt_length")]
    _feed(inputs, ids, lengths, more[0] if classifier and more else None)
    output, dimension = graph.outputs[0].get_node().input_value(0), width
    if isinstance(spec, ClassifierSpec):
        check_labels(width, spec, folder.path)
    else:
        output, dimension = _behind(folder, options, output, [lengths, *more], width)
    openvino.save_model(openvino.Model([output], [ids, lengths, *more]), target / GRAPH, compress_to_fp16=False)
    outline = model_outline(spec, options.trust_remote_code)
    third = "" if not more else "types" if classifier else "prompt"
    batches = list(trial_batches(outline.vocabulary or 1000, outline.positions or 64, third))
    same = functools.partial(same_logits, most=0.1) if classifier else functools.partial(same_direction, least=0.999)
    facts = GraphFacts(
        dimension=dimension,
        positions=outline.positions,
        vocabulary=outline.vocabulary,
        padding_id=outline.padding_id,
        takes_prompt_length=bool(more) and not classifier,
        takes_type_ids=bool(more) and classifier,
        ignores_type_ids=classifier and not more,
        masks_padding_only=masks_padding_only(outline.model.config)
        and is_same_written_out(target / GRAPH, batches, run_graph(read_graph(target / GRAPH), batches), same),
    )
    write_facts(target, facts)


def _name(port: Any) -> str:
    """A port may have names of its own beside the exporter's."""
    names = sorted(port.get_names()) or [""]
    known: list[str] = [name for name in names if name in INPUTS]
    return (known or names)[0]


def _width(graph: Any, inputs: Mapping[str, Any], path: Path) -> int:
    """Numbers that the graph gives for a token or a pair; it is run to see."""
    try:
        compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled([np.ones((1, _PROBE), np.int64)] * len(inputs))[0]
    except RuntimeError as error:
        raise cannot_run(path, error) from error
    return int(found.shape[-1])


def _feed(inputs: Mapping[str, Any], ids: Any, lengths: Any, types: Any | None) -> None:
    """Put what is made of `ids` and `lengths` in the place of the graph's own inputs."""
    zero, one = ops.constant(np.int32(0)), ops.constant(np.int32(1))
    places = ops.range(zero, ops.gather(ops.shape_of(ids, "i32"), one, zero), one, "i32")
    made = {
        IDS: ids,
        MASK: ops.less(ops.unsqueeze(places, zero), ops.unsqueeze(lengths, one)),
        TYPES: ops.broadcast(zero, ops.shape_of(ids)) if types is None else types,
    }
    for name, port in inputs.items():
        source = ops.convert(made[name], port.get_element_type().get_type_name()).output(0)
        for use in port.get_target_inputs():
            use.replace_source_output(source)


def _behind(folder: ModelFolder, options: LoadOptions, states: Any, more: list[Any], width: int) -> tuple[Any, int]:
    """Embeddings and their dimension, from the output `states` and the nodes `more`: lengths, the prompt's length."""
    tail = Tail(folder.modules[1:], torch.device("cpu"), options.allow_pickle)

    class Behind(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tail = tail

        def forward(self, states: Any, lengths: Any, prompt_length: Any = 0) -> Any:
            return self.tail(states, lengths.long(), prompt_length)

    behind = Behind().eval()
    examples = [torch.ones(3, 9, width), torch.tensor([9, 5, 3], dtype=torch.int32), torch.ones(1, dtype=torch.int32)]
    example, shapes = tuple(examples[: 1 + len(more)]), [[-1, -1, width], [-1], [1]][: 1 + len(more)]
    with tracing(folder.path, "OpenVINO"):
        model = openvino.convert_model(behind, example_input=example, input=shapes)
        dimension = behind(*example).shape[1]
    for port, source in zip(model.inputs, [states, *(node.output(0) for node in more)], strict=True):
        for use in port.get_target_inputs():
            use.replace_source_output(source)
    return model.outputs[0].get_node().input_value(0), dimension
