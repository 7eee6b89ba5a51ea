"""Model folders as OpenVINO graphs, in float32 or with weights and activations in int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from st_ray.core.environment import is_installed
from st_ray.core.errors import ConfigError, ModelError, reason_of
from st_ray.models.folder import ModelFolder
from st_ray.models.named_graph import Batch, NamedGraph
from st_ray.models.options import LoadOptions
from st_ray.models.tracing import quiet, tracing

CALIBRATION_TEXTS = 300


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
    with tracing(folder.path, "OpenVINO"):
        model = openvino.convert_model(graph, example_input=graph.tensors(batches[0]))
    for port, name in zip(model.inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
        port.get_node().set_element_type(openvino.Type.i64)
    model.validate_nodes_and_infer_types()
    model.outputs[0].get_tensor().set_names({graph.output})
    openvino.save_model(model, path, compress_to_fp16=False)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    graph.check(lambda batch: compiled(dict(batch))[0], batches, "OpenVINO")


def quantize_openvino(
    source: Path, batches: Sequence[Batch], target: Path, config: Mapping[str, Any] | None = None
) -> None:
    """Write the graph `source` with products in int8 as `target`, by post-training quantization.

    Ranges of activations are measured on the batches. Weights are symmetric, activations asymmetric, and outliers
    are moved from activations to weights (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438), as NNCF does for
    transformers. The products within attention stay as they are: OpenVINO runs them as fast, and they are exact.

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
    with quiet("nncf"):
        import nncf
    import openvino

    settings = {"model_type": nncf.ModelType.TRANSFORMER, "preset": nncf.QuantizationPreset.MIXED}
    settings["ignored_scope"] = nncf.IgnoredScope(types=["ScaledDotProductAttention"], validate=False)
    settings |= {"subset_size": len(batches), **(config or {})}
    try:
        with quiet("nncf"):
            model = nncf.quantize(openvino.Core().read_model(source), nncf.Dataset(list(batches)), **settings)
    except TypeError as error:
        raise ConfigError(f"the quantization cannot be configured so: {error}", "see nncf.quantize") from error
    except Exception as error:  # nncf's and OpenVINO's own
        raise ModelError(f"{source} cannot be quantized: {type(error).__name__}: {reason_of(error)}") from error
    openvino.save_model(model, target, compress_to_fp16=False)


def _require(package: str, extra: str) -> None:
    if not is_installed(package):
        raise ConfigError(f"this export needs {package}, which is not installed", f"pip install 'st-ray[{extra}]'")
