"""A model folder as an OpenVINO graph: tokens in, one vector a text out, converted once a machine and kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from st_ray.core.errors import ModelError
from st_ray.models.cache import cached_folder
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_files import find_graph, graph_digest
from st_ray.models.openvino_checks import is_same_written_out, run_graph, same_direction, same_logits, trial_batches
from st_ray.models.openvino_graph import GRAPH, GraphFacts, read_facts, read_graph, write_facts
from st_ray.models.options import LoadOptions
from st_ray.models.source import model_digest
from st_ray.models.specs import PoolingSpec

_RECIPE = 8
"""Number of this way of converting; part of a cached graph's key."""


def converted_model(folder: ModelFolder, options: LoadOptions) -> tuple[Path, GraphFacts]:
    """The graph of `folder` and its facts, from the cache, or converted now.

    Its inputs are `ids` int32 `[rows, length]`, padded on the right, `lengths` int32 `[rows]` and, where the facts say
    so, `type_ids` int32 `[rows, length]` or `prompt_length` int32 `[1]`; its output is float32 `[rows, dimension]`.

    Raises:
        ModelError: the model cannot be loaded or converted, or the graph computes something else than the model; or
            the graph that is to take the place of the weights is damaged, or not one of this model.
    """
    key = [model_digest(folder.path), str(_RECIPE), importlib.metadata.version("openvino")]
    exported = None
    if options.file_name is not None:
        exported = find_graph(folder.path, "openvino", options.file_name)
        key.append(graph_digest(exported))

    def make(target: Path) -> None:
        if exported is None:
            return _convert(folder, options, target)
        from st_ray.models.openvino_joining import join_graph

        return join_graph(exported, folder, options, target)

    place = cached_folder("openvino", hashlib.sha256("\0".join(key).encode()).hexdigest()[:32], make)
    return place / GRAPH, read_facts(place)


def _convert(folder: ModelFolder, options: LoadOptions, target: Path) -> None:
    import openvino
    import torch

    from st_ray.models.network import SentenceNetwork, TokenBatch
    from st_ray.models.tracing import tracing
    from st_ray.models.transformer import Classifier

    network = SentenceNetwork(
        folder, torch.device("cpu"), torch.float32, options.trust_remote_code, options.allow_pickle, for_openvino=True
    )
    takes_prompt = any(isinstance(spec, PoolingSpec) and not spec.include_prompt for spec in folder.modules)
    classifier = isinstance(network.first, Classifier)
    takes_types = isinstance(network.first, Classifier) and network.first.takes_type_ids

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, ids: Any, lengths: Any, more: Any = None) -> Any:
            ids, lengths = ids.long(), lengths.long()
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            types, prompt_length = (more.long(), 0) if takes_types else (None, more if takes_prompt else 0)
            return self.network.embed(TokenBatch(ids, lengths, mask, types, prompt_length))

    graph = Graph().eval()
    more = "types" if takes_types else "prompt" if takes_prompt else ""
    batches = list(trial_batches(network.vocabulary or 1000, network.positions or 64, more))
    shapes = [[-1, -1], [-1], *{"types": [[-1, -1]], "prompt": [[1]]}.get(more, [])]
    with tracing(folder.path, "OpenVINO"):
        example = tuple(torch.from_numpy(array) for array in batches[0])
        model = openvino.convert_model(graph, example_input=example, input=shapes)
        expected = [graph(*map(torch.from_numpy, batch)).numpy() for batch in batches]
        openvino.save_model(model, target / GRAPH, compress_to_fp16=False)
    same = same_logits if classifier else same_direction
    for one, other in zip(run_graph(read_graph(target / GRAPH), batches), expected, strict=True):
        if not same(one, other):
            raise ModelError(
                f"converted for OpenVINO, {folder.path} gives other results (the largest difference is "
                f"{np.abs(one - other).max():.5f})",
                "use --backend torch",
            )
    facts = GraphFacts(
        dimension=expected[0].shape[1],
        positions=network.positions,
        vocabulary=network.vocabulary,
        padding_id=network.padding_id,
        takes_prompt_length=takes_prompt,
        takes_type_ids=takes_types,
        ignores_type_ids=classifier and not takes_types,
        masks_padding_only=network.masks_padding_only and is_same_written_out(target / GRAPH, batches, expected, same),
    )
    write_facts(target, facts)
