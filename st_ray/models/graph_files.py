"""Exported graphs in a model folder: where they lie and what they are called, as Sentence Transformers has it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from st_ray.core.errors import ConfigError

PLAIN = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}
"""The file of a graph as it was exported, by backend; those that were made from it have a suffix to its name."""
INPUTS = (IDS, MASK, TYPES) = ("input_ids", "attention_mask", "token_type_ids")
"""Names of a graph's inputs, int64 `[rows, length]` each; the last one only where the model has such types."""
OUTPUTS = {"feature-extraction": "last_hidden_state", "sequence-classification": "logits"}
"""The name of its output, by what the model is for."""
_CHUNK = 1 << 20


def graph_name(backend: str, suffix: str = "") -> str:
    """`onnx/model_O3.onnx` for the suffix `O3`: the place of a graph in a model folder."""
    plain = Path(PLAIN[backend])
    return f"{backend}/{plain.stem}{'_' if suffix else ''}{suffix}{plain.suffix}"


def find_graph(folder: Path, backend: str, name: str) -> Path:
    """The file `name` of the model folder, or of its folder for the backend.

    Raises:
        ConfigError: there is none; those that there are get named.
    """
    if backend not in PLAIN:
        raise ConfigError(
            f"the file {name} is no graph for the backend {backend}", f"use the backend {' or '.join(PLAIN)}"
        )
    ending = Path(PLAIN[backend]).suffix
    for path in (folder / name, folder / backend / name):
        if path.is_file() and path.suffix == ending and path.resolve().is_relative_to(folder.resolve()):
            return path
    there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*{ending}"))
    raise ConfigError(
        f"{folder} has no graph {name!r} for the backend {backend} (there is {', '.join(there) or 'none'})",
        "name one of these, export one with jobs.export_model, or leave the name out",
    )


def graph_files(path: Path) -> list[Path]:
    """All files of the graph `path`: itself, and what holds its weights where that is another file."""
    beside = [path.with_suffix(".bin")] if path.suffix == ".xml" else [Path(f"{path}_data"), Path(f"{path}.data")]
    return [path, *(file for file in beside if file.is_file())]


def graph_digest(path: Path) -> str:
    """SHA-256, in hex, of the contents of all files of a graph."""
    digest = hashlib.sha256()
    for file in graph_files(path):
        digest.update(f"{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
