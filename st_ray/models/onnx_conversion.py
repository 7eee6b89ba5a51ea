"""A transformer as an ONNX graph in float32; this machine keeps those that nobody exported."""

from __future__ import annotations

import hashlib
import importlib.metadata
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from st_ray.core.environment import is_installed
from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.cache import cached_folder
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_files import MASK, PLAIN
from st_ray.models.named_graph import NamedGraph
from st_ray.models.options import LoadOptions
from st_ray.models.source import model_digest

_OPSET = 17
_RECIPE = 1
"""Number of this way of converting; part of a cached graph's key."""
_MOST_DIFFERENCE = 1e-3


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
    if not (is_installed("onnx") and is_installed("onnxruntime")):
        raise ConfigError("ONNX graphs need packages that are not installed", "pip install 'st-ray[onnx]'")
    graph = NamedGraph(folder, options)
    batches = list(graph.trial_batches())
    named = [*graph.inputs, graph.output]
    whole = {0: "rows", 1: "length"}
    axes = {name: {0: "rows"} if name == "logits" else whole for name in named}
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # Of the tracer, and that another exporter is the newer one: it needs more packages and thrice the time,
            # and its graphs are no faster. What tracing gets wrong, the comparison finds.
            warnings.simplefilter("ignore")
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
        found = _run(path, batches)
    except Exception as error:  # whatever tracing the model's code leads to
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"{folder.path} cannot be converted to ONNX: {type(error).__name__}: {reason}",
            "this architecture is not supported; use --backend torch",
        ) from error
    for batch, one in zip(batches, found, strict=True):
        expected = graph.expected(batch)
        same = one if graph.output == "logits" else one * batch[MASK][..., None]
        if not np.allclose(same, expected, rtol=_MOST_DIFFERENCE, atol=_MOST_DIFFERENCE):
            raise ModelError(
                f"converted to ONNX, {folder.path} gives other results (the largest difference is "
                f"{np.abs(same - expected).max():.5f})",
                "this architecture is not supported; use --backend torch",
            )


def _run(path: Path, batches: Sequence[dict[str, np.ndarray]]) -> list[np.ndarray]:
    from st_ray.models.onnx_graph import OnnxGraph

    graph = OnnxGraph(path)
    return [graph.run({name: batch[name] for name in graph.inputs}) for batch in batches]
