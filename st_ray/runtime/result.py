"""What every job gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from st_ray.store.manifest import Manifest

if TYPE_CHECKING:
    from st_ray.runtime.stage_result import StageResult


@dataclass(frozen=True)
class JobResult:
    """What a run left: the manifest, where it lies, and whether there was nothing to do.

    Attributes:
        stages: what was done, where a larger job tells of it.
    """

    manifest: Manifest
    folder: str
    already_complete: bool = False
    stages: tuple[StageResult, ...] = ()
