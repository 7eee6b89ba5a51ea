"""The flags of the export job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.export.check import APPROXIMATE, EXACT, INT8, Thresholds
from st_ray.runtime.config import LogConfig, TextConfig, require_at_least

STATIC = "static"


@dataclass(frozen=True, kw_only=True)
class ExportModelConfig(TextConfig, LogConfig):
    """Export a bi-encoder or a cross-encoder for ONNX Runtime or OpenVINO."""

    model: str
    """A folder as Sentence Transformers or transformers writes it, a hub id, an s3:// folder, or package:NAME for a
    model inside an installed Python package."""

    backend: Literal["onnx", "openvino"]
    """What is to run it. openvino is the faster one on x86 CPUs; onnx runs nearly everywhere."""

    output: str
    """Model folder to make: all of --model, and the new graph in its folder onnx/ or openvino/. A local path or any
    fsspec URL such as s3://bucket/folder."""

    optimize: Literal["O1", "O2", "O3", "O4"] | None = None
    """Of onnx. O1: constants are folded, what is of no use goes. O2: attention, normalisation and other parts of
    transformers become one operation each. O3: O2, and GELU by a polynomial. O4: O3 in float16, for GPUs. Unset: the
    graph as torch gives it."""

    quantize: Literal["arm64", "avx2", "avx512", "avx512_vnni", "static"] | None = None
    """int8. Of onnx for a kind of CPU: weights are int8, activations measured as the graph runs. Of openvino static:
    their ranges are measured here, with --calibration. Unset: float32."""

    for_other_cpu: bool = False
    """Make a graph for a kind of CPU that this machine has not."""

    calibration: tuple[str, ...] = ()
    """Files, folders or globs of texts like those that the model is for (best the corpus itself), with some of which
    --quantize static measures ranges. For a cross-encoder name two --text-columns."""

    calibration_rows: int = 300
    """So many of them, chosen at random from all over the files."""

    check_data: tuple[str, ...] = ()
    """Texts on which the graph is compared with torch. Unset: others of --calibration; without it, sentences from the
    documentation of Python's own modules."""

    check_rows: int = 256
    """So many of them, chosen likewise."""

    min_cosine: float | None = None
    """Of a bi-encoder: the least cosine of any text's embedding to torch's in float32. Below it nothing is written.
    Unset: 0.9999; 0.999 for O3 and O4; 0.9 for int8."""

    min_mean_cosine: float | None = None
    """Their mean. Unset: 0.99999; 0.9995; 0.98."""

    max_difference: float | None = None
    """Of a cross-encoder: the largest difference of any pair's logit. Unset: 0.001; 0.1 for O3 and O4; any for int8."""

    min_correlation: float | None = None
    """Of a cross-encoder: the rank correlation (Spearman) of logits. Unset: 0.9999; 0.999; 0.95."""

    file_suffix: str | None = None
    """What comes behind `model_` or `openvino_model_` in the file's name. Unset: as Sentence Transformers names it."""

    max_seq_length: int | None = None
    """Cut inputs to so many tokens while calibrating and comparing. Unset: the model's own limit."""

    overwrite: bool = False
    """Remove what an earlier export left in --output and start again."""

    trust_remote_code: bool = False
    """Run Python code that the model folder brings along."""

    allow_pickle: bool = False
    """Load pickled weights (*.bin), which can run code when they are opened."""

    seed: int = 0
    """Of the choice of texts."""

    debug: bool = False
    """Show tracebacks."""

    @property
    def thresholds(self) -> Thresholds:
        """What the graph must reach."""
        usual = INT8 if self.quantize else APPROXIMATE if self.optimize in ("O3", "O4") else EXACT

        def given(value: float | None, otherwise: float) -> float:
            return otherwise if value is None else value

        return Thresholds(
            given(self.min_cosine, usual.cosine),
            given(self.min_mean_cosine, usual.mean_cosine),
            usual.difference if self.max_difference is None else self.max_difference,
            given(self.min_correlation, usual.correlation),
        )

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        require_at_least(self, 1, "calibration_rows", "check_rows", "max_seq_length")
        if self.backend == "openvino" and self.optimize:
            raise ConfigError(
                f"--optimize {self.optimize} is of --backend onnx", "leave it out: OpenVINO optimizes as it loads"
            )
        if self.quantize and (self.quantize == STATIC) != (self.backend == "openvino"):
            fitting = STATIC if self.backend == "openvino" else "avx512_vnni, avx512, avx2 or arm64"
            raise ConfigError(f"--backend {self.backend} has no --quantize {self.quantize}", f"use {fitting}")
        if self.optimize == "O4" and self.quantize:
            raise ConfigError("--optimize O4 is float16, and --quantize is int8", "use O3, or leave one of them out")
        if self.quantize == STATIC and not self.calibration:
            raise ConfigError("--quantize static needs texts", "give --calibration files of texts like your own")
        if self.calibration and self.quantize != STATIC:
            raise ConfigError("--calibration is for --quantize static", "use --check-data to compare on such texts")
        for flag in ("min_cosine", "min_mean_cosine", "min_correlation"):
            value = getattr(self, flag)
            if value is not None and not -1.0 <= value <= 1.0:
                raise ConfigError(f"--{flag.replace('_', '-')} {value:g} must be between -1 and 1", "")
        if self.max_difference is not None and not self.max_difference >= 0:
            raise ConfigError(f"--max-difference {self.max_difference:g} must be 0 or more", "")
