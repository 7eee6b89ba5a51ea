"""Model folders as OpenVINO graphs, in float32 or with weights and activations in int8."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from st_ray.core.environment import is_installed
from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.folder import ModelFolder
from st_ray.models.named_graph import NamedGraph
from st_ray.models.options import LoadOptions

CALIBRATION_TEXTS = 300
_TRUSTED = 1e-3


def write_openvino(folder: ModelFolder, options: LoadOptions, path: Path) -> None:
    """Write the transformer of a model folder as the graph `path` (.xml, and .bin beside it), in float32.

    Raises:
        ConfigError: OpenVINO is not installed.
        ModelError: the model cannot be loaded or converted, or the graph gives other results.
    """
    _require("openvino", "cpu")
    import openvino

    graph = NamedGraph(folder, options)
    batches = list(graph.trial_batches())
    try:
        with torch.inference_mode(), _quiet():
            model = openvino.convert_model(graph, example_input=graph.tensors(batches[0]))
    except Exception as error:  # whatever tracing the model's code leads to
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"{folder.path} cannot be converted for OpenVINO: {type(error).__name__}: {reason}",
            "this architecture is not supported; use --backend torch",
        ) from error
    for port, name in zip(model.inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
        port.get_node().set_element_type(openvino.Type.i64)
    model.validate_nodes_and_infer_types()
    model.outputs[0].get_tensor().set_names({graph.output})
    openvino.save_model(model, path, compress_to_fp16=False)
    _check(graph, path, batches)


def quantize_openvino(
    source: Path, batches: Sequence[Mapping[str, np.ndarray]], target: Path, config: Mapping[str, Any] | None = None
) -> None:
    """Write the graph `source` with products in int8 as `target`, by post-training quantization.

    Ranges of activations are measured on the batches. Weights are symmetric, activations asymmetric, and outliers
    are moved from activations to weights (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438), as NNCF does for
    transformers.

    Args:
        batches: inputs by name, one after another; their number is what is measured.
        config: keywords of `nncf.quantize` to change.

    Raises:
        ConfigError: NNCF is not installed, there is no batch, or it knows no such keyword.
        ModelError: NNCF cannot quantize the graph.
    """
    _require("nncf", "export")
    if not batches:
        raise ConfigError("there is no text to calibrate with", "give --calibration a file of texts like your own")
    with _quiet():
        import nncf
    import openvino

    settings = {"model_type": nncf.ModelType.TRANSFORMER, "preset": nncf.QuantizationPreset.MIXED}
    settings |= {"subset_size": len(batches), **(config or {})}
    try:
        with _quiet():
            model = nncf.quantize(openvino.Core().read_model(source), nncf.Dataset(list(batches)), **settings)
    except TypeError as error:
        raise ConfigError(f"the quantization cannot be configured so: {error}", "see nncf.quantize") from error
    except Exception as error:  # nncf's and OpenVINO's own
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(f"{source} cannot be quantized: {type(error).__name__}: {reason}") from error
    openvino.save_model(model, target, compress_to_fp16=False)


def _check(graph: NamedGraph, path: Path, batches: Sequence[dict[str, np.ndarray]]) -> None:
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for batch in batches:
        expected = graph.expected(batch)
        found = compiled(batch)[0]
        if graph.output != "logits":
            found = found * batch["attention_mask"][..., None]
        if not np.allclose(found, expected, rtol=_TRUSTED, atol=_TRUSTED):
            raise ModelError(
                f"the graph {path.name} gives other results than the model (the largest difference is "
                f"{np.abs(found - expected).max():.5f})",
                "this architecture is not supported; use --backend torch",
            )


def _require(package: str, extra: str) -> None:
    if not is_installed(package):
        raise ConfigError(f"this export needs {package}, which is not installed", f"pip install 'st-ray[{extra}]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of the tracer, no notes of NNCF: what goes wrong, the check of the graph finds."""
    loggers = [logging.getLogger(name) for name in ("transformers", "nncf")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
