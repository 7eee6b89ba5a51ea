"""ONNX graphs, optimized, or with weights in int8."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from st_ray.core.environment import is_installed
from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.folder import ModelFolder
from st_ray.models.specs import TransformerSpec

_FAMILIES = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet", "deberta", "deberta-v2"}
"""Those whose layers ONNX Runtime knows as BERT's."""
_WEIGHTS = {"arm64": "QInt8", "avx2": "QUInt8", "avx512": "QInt8", "avx512_vnni": "QInt8"}


def optimize_onnx(source: Path, level: str, folder: ModelFolder, target: Path) -> None:
    """Write the graph `source`, optimized by ONNX Runtime, as `target`.

    Args:
        level: O1: constants are folded, what is of no use goes. O2: also, parts of transformers become one operation
            each. O3: also, GELU is a polynomial. O4: also, all is float16 but inputs and outputs. As optimum has them.
        folder: the model's, whose layers the second level needs to know.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        ModelError: it cannot optimize this graph.
    """
    _require_installed()
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_by_onnxruntime, optimize_model

    heads, width, known = _layers(folder)
    try:
        with _quiet():
            if level == "O1" or not known:
                optimize_by_onnxruntime(str(source), opt_level=1, optimized_model_path=str(target))
                if level != "O4":
                    return
                source = target
            options = FusionOptions("bert")
            options.enable_gelu_approximation = level in ("O3", "O4")
            fused = optimize_model(
                str(source), "bert", num_heads=heads, hidden_size=width, opt_level=1, optimization_options=options
            )
            if level == "O4":
                fused.convert_float_to_float16(keep_io_types=True)
            fused.save_model_to_file(str(target))
    except Exception as error:  # the library has errors of many kinds
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"ONNX Runtime cannot optimize the graph of {folder.path}: {type(error).__name__}: {reason}",
            "leave --optimize out",
        ) from error


def quantize_onnx(source: Path, flavour: str, target: Path) -> None:
    """Write the graph `source` with weights in int8, and activations quantized as it runs, as `target`.

    Only products with weights are quantized, each column of weights with a scale of its own; tables of embeddings stay
    as they are. (With a scale for each matrix, all-MiniLM-L6-v2's embeddings have a mean cosine of 0.965 to the exact
    ones; so they have 0.994.)

    Args:
        flavour: arm64, avx2, avx512 or avx512_vnni: the kind of CPU, which tells the type of the weights.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        ModelError: it cannot quantize this graph.
    """
    _require_installed()
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    try:
        with _quiet():
            quantize_dynamic(
                source,
                target,
                per_channel=True,
                weight_type=QuantType[_WEIGHTS[flavour]],
                op_types_to_quantize=["MatMul"],
                # What the operations of an optimized graph give, the library's shape inference does not know.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
    except Exception as error:  # the library has errors of many kinds
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(f"ONNX Runtime cannot quantize {source.name}: {type(error).__name__}: {reason}") from error


def _layers(folder: ModelFolder) -> tuple[int, int, bool]:
    """Heads and width of the model, and whether its layers are like BERT's."""
    from transformers import AutoConfig

    spec = folder.first
    config: Any = (
        AutoConfig.from_pretrained(spec.path, local_files_only=True) if isinstance(spec, TransformerSpec) else None
    )
    heads, width = getattr(config, "num_attention_heads", 0), getattr(config, "hidden_size", 0)
    return heads, width, bool(heads and width) and config.model_type in _FAMILIES


def _require_installed() -> None:
    if not (is_installed("onnx") and is_installed("onnxruntime")):
        raise ConfigError("ONNX graphs need packages that are not installed", "pip install 'st-ray[onnx]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """No notes of the library's on what it fused and what it left."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
