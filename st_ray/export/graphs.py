"""From a model folder to the graph that was asked for, by its recipe."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from st_ray.core.environment import cpu_flags
from st_ray.core.errors import ConfigError
from st_ray.models.batching import Tokens, padded_batches
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_files import IDS, MASK, TYPES, graph_files, graph_name
from st_ray.models.named_graph import Batch
from st_ray.models.options import LoadOptions

LEVELS = ("O1", "O2", "O3", "O4")
FLAVOURS = {"arm64": "qint8", "avx2": "quint8", "avx512": "qint8", "avx512_vnni": "qint8"}
"""Kinds of CPUs that ONNX Runtime has int8 products for, and the type of the weights that suits each."""
_INSTRUCTIONS = {
    "arm64": {"asimd", "neon"},
    "avx2": {"avx2"},
    "avx512": {"avx512f"},
    "avx512_vnni": {"avx512_vnni", "avx_vnni"},
}
"""One of these is what a kind of CPU has, as Linux names it."""
STATIC_SUFFIX = "qint8_quantized"


@dataclass(frozen=True)
class Recipe:
    """What graph to make.

    Attributes:
        backend: onnx or openvino.
        level: O1 to O4, of ONNX; None for the graph as torch gives it.
        flavour: the kind of CPU whose int8 products ONNX is to use; None for floats.
        static: int8 of OpenVINO, with ranges of activations measured beforehand.
        suffix: of the file's name; None for what Sentence Transformers calls it.
    """

    backend: str
    level: str | None = None
    flavour: str | None = None
    static: bool = False
    suffix: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for a level or a kind of CPU that there is not."""
        if self.level is not None and self.level not in LEVELS:
            raise ConfigError(f"there is no optimization {self.level!r}", f"use one of {', '.join(LEVELS)}")
        if self.flavour is not None and self.flavour not in FLAVOURS:
            raise ConfigError(f"there is no quantization {self.flavour!r}", f"use one of {', '.join(FLAVOURS)}")

    @property
    def name(self) -> str:
        """Of the file, as seen from the model folder."""
        if self.suffix is not None:
            return graph_name(self.backend, self.suffix)
        if self.static:
            return graph_name(self.backend, STATIC_SUFFIX)
        if self.flavour is not None:
            return graph_name(self.backend, f"{FLAVOURS[self.flavour]}_{self.flavour}")
        return graph_name(self.backend, self.level or "")


def require_cpu(flavour: str) -> None:
    """Raise ConfigError where this machine is not of the kind whose int8 products a graph is for."""
    flags = cpu_flags()
    if flags and not _INSTRUCTIONS[flavour] & flags:
        here = [name for name in FLAVOURS if _INSTRUCTIONS[name] & flags]
        raise ConfigError(
            f"this CPU has no {' or '.join(sorted(_INSTRUCTIONS[flavour]))}, which --quantize {flavour} is for",
            f"use {' or '.join(reversed(here)) or 'no int8'} here, or add --for-other-cpu: the graph is then compared "
            "with torch by other instructions than it will run with",
        )


def make_graph(
    recipe: Recipe,
    folder: ModelFolder,
    options: LoadOptions,
    target: Path,
    batches: Sequence[Batch] = (),
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write the graph `target`.

    Args:
        batches: inputs to measure ranges with, of a static recipe (see `single_batches`).
        config: keywords for the quantization.

    Raises:
        ConfigError: a package is not installed, or there is nothing to measure ranges with.
        ModelError: the model is damaged, or not of an architecture that can be exported.
    """
    with tempfile.TemporaryDirectory(prefix="st-ray-graph-") as place:
        made = Path(place, target.name)
        if recipe.backend == "openvino":
            _make_openvino(recipe, folder, options, made, batches, config)
        else:
            _make_onnx(recipe, folder, options, made)
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in graph_files(made):
            shutil.copyfile(file, target.parent / file.name)


def single_batches(tokens: Tokens, fill: int = 0) -> list[Batch]:
    """Every text as a batch of its own, so that no padding is measured."""
    found: list[Batch] = []
    for batch in padded_batches(tokens, budget=1, fill=fill, max_rows=1):
        types = np.zeros_like(batch.ids) if batch.type_ids is None else batch.type_ids
        found.append({IDS: batch.ids, MASK: np.ones_like(batch.ids), TYPES: types})
    return found


def _make_openvino(
    recipe: Recipe,
    folder: ModelFolder,
    options: LoadOptions,
    target: Path,
    batches: Sequence[Batch],
    config: Mapping[str, Any] | None,
) -> None:
    from st_ray.export.openvino import quantize_openvino, write_openvino

    plain = target.with_name("plain.xml") if recipe.static else target
    write_openvino(folder, options, plain)
    if recipe.static:
        quantize_openvino(plain, batches, target, config)


def _make_onnx(recipe: Recipe, folder: ModelFolder, options: LoadOptions, target: Path) -> None:
    from st_ray.models.onnx_conversion import write_onnx

    plain = target.with_name("plain.onnx")
    write_onnx(folder, options, plain)
    for name, step in _onnx_steps(recipe, folder):
        made = target.with_name(name)
        step(plain, made)
        plain = made
    plain.rename(target)


def _onnx_steps(recipe: Recipe, folder: ModelFolder) -> Iterator[tuple[str, Callable[[Path, Path], None]]]:
    from st_ray.export.onnx import optimize_onnx, quantize_onnx

    level, flavour = recipe.level, recipe.flavour
    if level is not None:
        yield "optimized.onnx", lambda source, made: optimize_onnx(source, level, folder, made)
    if flavour is not None:
        yield "quantized.onnx", lambda source, made: quantize_onnx(source, FLAVOURS[flavour], made)
