"""A transformer as an ONNX graph in float32; this machine keeps those that nobody exported."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import torch

from st_ray.core.environment import is_installed
from st_ray.core.errors import ConfigError
from st_ray.models.bert_layers import WrittenOutSelfAttention
from st_ray.models.cache import cached_folder
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_files import PLAIN
from st_ray.models.named_graph import NamedGraph
from st_ray.models.options import LoadOptions
from st_ray.models.source import model_digest
from st_ray.models.tracing import tracing

_OPSET = 17
_RECIPE = 2
"""Number of this way of converting; part of a cached graph's key."""


def converted_graph(folder: ModelFolder, options: LoadOptions) -> Path:
    """The graph of `folder` (see `write_onnx`), from the cache, or converted now."""
    key = [model_digest(folder.path), str(_RECIPE), importlib.metadata.version("torch")]
    name = hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]
    place = cached_folder("onnx", name, lambda target: write_onnx(folder, options, target / PLAIN["onnx"]))
    return place / PLAIN["onnx"]


def write_onnx(folder: ModelFolder, options: LoadOptions, path: Path) -> None:
    """Write the transformer of a model folder as the graph `path`, in float32, and compare the two.

    Raises:
        ConfigError: what this needs is not installed.
        ModelError: the model cannot be loaded or converted, or the graph gives other results.
    """
    require_onnx()
    from st_ray.models.onnx_graph import OnnxGraph

    graph = NamedGraph(folder, options, WrittenOutSelfAttention)
    batches = list(graph.trial_batches())
    named = [*graph.inputs, graph.output]
    whole = {0: "rows", 1: "length"}
    axes = {name: {0: "rows"} if name == "logits" else whole for name in named}
    with tracing(folder.path, "ONNX Runtime"):
        # Another exporter is the newer one, but it needs more packages and thrice the time, and its graphs are no
        # faster.
        torch.onnx.export(
            graph,
            graph.tensors(batches[0]),
            path,
            input_names=list(graph.inputs),
            output_names=[graph.output],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
        made = OnnxGraph(path)
    graph.check(lambda batch: made.run({name: batch[name] for name in made.inputs}), batches, "ONNX Runtime")


def require_onnx() -> None:
    """Raise ConfigError where what makes and runs such graphs is not installed."""
    if not (is_installed("onnx") and is_installed("onnxruntime")):
        raise ConfigError("ONNX graphs need packages that are not installed", "pip install 'st-ray[onnx]'")
