"""ONNX graphs, optimized, or with weights in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from st_ray.core.errors import ModelError, StRayError, reason_of
from st_ray.models.folder import ModelFolder
from st_ray.models.onnx_conversion import require_onnx
from st_ray.models.tracing import quiet

_FAMILIES = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet", "deberta", "deberta-v2"}
"""Those whose layers ONNX Runtime knows as BERT's."""


def optimize_onnx(source: Path, level: str, folder: ModelFolder, target: Path) -> None:
    """Write the graph `source`, optimized by ONNX Runtime, as `target`.

    Args:
        level: O1: constants are folded, what is of no use goes. O2: also, parts of transformers become one operation
            each. O3: also, GELU is a polynomial. O4: also, all is float16 but inputs and outputs. As optimum has them.
        folder: the model's, whose layers the second level needs to know.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        ModelError: it cannot optimize this graph, or knows nothing of such layers.
    """
    require_onnx()
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_by_onnxruntime, optimize_model

    try:
        with quiet(""):
            if level == "O1":
                optimize_by_onnxruntime(str(source), opt_level=1, optimized_model_path=str(target))
                return
            heads, width = _layers(folder)
            options = FusionOptions("bert")
            options.enable_gelu_approximation = level in ("O3", "O4")
            fused = optimize_model(
                str(source), "bert", num_heads=heads, hidden_size=width, opt_level=1, optimization_options=options
            )
            if level == "O4":
                fused.convert_float_to_float16(keep_io_types=True)
            fused.save_model_to_file(str(target))
    except StRayError:
        raise
    except Exception as error:  # the library has errors of many kinds
        raise ModelError(
            f"ONNX Runtime cannot optimize the graph of {folder.path}: {type(error).__name__}: {reason_of(error)}",
            "leave --optimize out",
        ) from error


def quantize_onnx(source: Path, weights: str, target: Path) -> None:
    """Write the graph `source` with weights in int8, and activations quantized as it runs, as `target`.

    Only products with weights are quantized, each column of weights with a scale of its own; tables of embeddings stay
    as they are. (With a scale for each matrix, all-MiniLM-L6-v2's embeddings have a mean cosine of 0.965 to the exact
    ones; so they have 0.994.)

    Args:
        weights: qint8 or quint8, the type that they get.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        ModelError: it cannot quantize this graph.
    """
    require_onnx()
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    try:
        with quiet(""):
            quantize_dynamic(
                source,
                target,
                per_channel=True,
                weight_type={"qint8": QuantType.QInt8, "quint8": QuantType.QUInt8}[weights],
                op_types_to_quantize=["MatMul"],
                # What the operations of an optimized graph give, the library's shape inference does not know.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
    except Exception as error:  # the library has errors of many kinds
        raise ModelError(
            f"ONNX Runtime cannot quantize {source.name}: {type(error).__name__}: {reason_of(error)}"
        ) from error


def _layers(folder: ModelFolder) -> tuple[int, int]:
    """Heads and width of the model. Raises ModelError where its layers are not like BERT's."""
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(folder.first.path, local_files_only=True)
    if config.model_type not in _FAMILIES:
        raise ModelError(
            f"ONNX Runtime knows no fused operations for the {config.model_type} model in {folder.path}",
            "use --optimize O1, or leave it out",
        )
    return config.num_attention_heads, config.hidden_size
