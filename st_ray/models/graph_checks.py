"""Whether an exported graph is one of the model whose folder it lies in."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from st_ray.core.errors import ModelError, reason_of
from st_ray.models.graph_files import IDS, MASK, TYPES
from st_ray.models.specs import ClassifierSpec

_AGAIN = "export it again with jobs.export_model"


def check_inputs(inputs: Collection[str], folder: Path) -> None:
    """Raise ModelError where a graph takes something else than tokens."""
    if not {IDS, MASK} <= set(inputs) <= {IDS, MASK, TYPES}:
        raise ModelError(
            f"the graph in {folder} takes {', '.join(sorted(inputs))}; expected {IDS}, {MASK} and perhaps {TYPES}",
            _AGAIN,
        )


def check_labels(width: int, spec: ClassifierSpec, folder: Path) -> None:
    """Raise ModelError where a graph gives `width` numbers for a pair, and the model has other labels."""
    if width != spec.labels:
        raise ModelError(
            f"the graph in {folder} gives {width} numbers for a pair, and the model has {spec.labels} labels", _AGAIN
        )


def cannot_run(folder: Path, error: Exception) -> ModelError:
    """The error for a graph that fails where it is tried out."""
    reason = f"{type(error).__name__}: {reason_of(error)}"
    return ModelError(f"a text cannot be run through the graph in {folder}: {reason}", _AGAIN)
