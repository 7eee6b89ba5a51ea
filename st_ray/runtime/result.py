"""What every job gives back."""

from __future__ import annotations

from dataclasses import dataclass

from st_ray.store.manifest import Manifest


@dataclass(frozen=True)
class JobResult:
    """What a run left: the manifest, where it lies, and whether there was nothing to do."""

    manifest: Manifest
    folder: str
    already_complete: bool = False
