"""Model folders as the driver and the workers see them: one name, one content."""

from __future__ import annotations

import socket
from pathlib import Path

from st_ray.core.errors import ModelError
from st_ray.models.source import model_digest, resolve_model


def same_model(model: str, digest: str) -> Path:
    """The local folder of `model`, fetched if this machine lacks it.

    Raises:
        ModelError: it is not the one whose content has this digest.
    """
    path = resolve_model(model)
    if model_digest(path) != digest:
        raise ModelError(
            f"{path} on {socket.gethostname()} is not the model that the driver sees under {model!r}",
            "give every machine the same model, for instance by an s3:// folder",
        )
    return path


def actor_bytes(path: Path) -> int:
    """Memory that an actor with the model in `path` takes, roughly."""
    weights = sum(file.stat().st_size for ending in ("safetensors", "bin") for file in path.rglob(f"*.{ending}"))
    # The process with its libraries, and the weights as they lie in the file, in the model and packed for the CPU.
    return (1 << 30) + 3 * weights
