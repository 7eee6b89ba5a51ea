"""Weight files of one module folder: whether they are whole, judged by size and header, and reading small ones."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from st_ray.core.errors import ModelError
from st_ray.models.specs import read_object

if TYPE_CHECKING:
    import torch

SAFETENSORS = "model.safetensors"
PICKLED = "pytorch_model.bin"
_AGAIN = "fetch or save the model again"
_HEADER_LIMIT = 100 << 20


def check_weight_files(folder: Path, allow_pickle: bool = False) -> None:
    """Find missing, truncated or only pickled weights in `folder` without loading any.

    Raises:
        ModelError: naming the file.
    """
    for file in _weight_files(folder, allow_pickle):
        if not file.exists():
            raise ModelError(f"{file} is missing", _AGAIN)
        if file.suffix == ".safetensors":
            _check_safetensors(file)
        elif file.stat().st_size == 0:
            raise ModelError(f"{file} is empty", _AGAIN)


def holds_weights(folder: Path) -> bool:
    """Whether there are weights in `folder`, whole or not."""
    return not uses_pickle(folder) or any((folder / name).exists() for name in (PICKLED, f"{PICKLED}.index.json"))


def uses_pickle(folder: Path) -> bool:
    """Whether `folder` holds its weights only in pickled form."""
    return not any((folder / name).exists() for name in (SAFETENSORS, f"{SAFETENSORS}.index.json"))


def read_state(folder: Path, allow_pickle: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a small module, on the CPU.

    Raises:
        ModelError: the file is missing, damaged, or pickled without `allow_pickle`.
    """
    check_weight_files(folder, allow_pickle)
    file = folder / (PICKLED if uses_pickle(folder) else SAFETENSORS)
    try:
        if file.name == PICKLED:
            import torch

            return dict(torch.load(file, map_location="cpu", weights_only=True))
        from safetensors.torch import load_file

        return load_file(file)
    except Exception as error:  # the readers raise whatever the bytes lead them to
        raise ModelError(f"{file} cannot be loaded: {error}", _AGAIN) from error


def _weight_files(folder: Path, allow_pickle: bool) -> list[Path]:
    if not uses_pickle(folder):
        return _shards(folder, SAFETENSORS)
    if not holds_weights(folder):
        raise ModelError(f"{folder} holds no weights: {SAFETENSORS} is missing", _AGAIN)
    if not allow_pickle:
        raise ModelError(
            f"{folder} holds its weights only in pickled form ({PICKLED}), and unpickling can run any code",
            f"convert them to {SAFETENSORS}, or allow pickled weights if you trust the source",
        )
    return _shards(folder, PICKLED)


def _shards(folder: Path, name: str) -> list[Path]:
    if (folder / name).exists():
        return [folder / name]
    index = folder / f"{name}.index.json"
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{index} lists no weights", _AGAIN)
    for shard in names.values():
        if not isinstance(shard, str) or PurePosixPath(shard).is_absolute() or ".." in PurePosixPath(shard).parts:
            raise ModelError(f"{index} points outside its folder: {shard!r}", _AGAIN)
    return [folder / shard for shard in sorted(set(names.values()))]


def _check_safetensors(file: Path) -> None:
    size = file.stat().st_size
    with open(file, "rb") as stream:
        prefix = stream.read(8)
        if prefix == b"version ":
            raise ModelError(
                f"{file} is a Git LFS pointer, not the weights", "run `git lfs pull` in the model's folder"
            )
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, _HEADER_LIMIT):
            raise ModelError(f"{file} is truncated or not a safetensors file ({size} bytes)", _AGAIN)
        header = _header(file, stream.read(length))
    expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != expected:
        raise ModelError(f"{file} is damaged: {size} bytes, its header tells of {expected}", _AGAIN)


def _header(file: Path, data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data)
    except ValueError as error:
        raise ModelError(f"{file} has a damaged header: {error}", _AGAIN) from error
    header.pop("__metadata__", None)
    return header
