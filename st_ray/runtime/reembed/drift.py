"""How far a new version is from the one before it, where both have the same texts."""

from __future__ import annotations

import dataclasses
from typing import Any

from st_ray.core.errors import StRayError, masked, reason_of
from st_ray.runtime.clock import Laps
from st_ray.runtime.reembed.standing import Standing
from st_ray.search.drift import DriftSettings, drift
from st_ray.store.versions import EMBEDDINGS, Versions

COPIED, COMPARED, NOT_COMPARED = "copied", "compared", "not compared"

_SIZE = DriftSettings(sample=500, corpus_rows=10_000)
_MOST_ROWS = 100_000
"""Of each version, whose texts are looked at: what is read does not grow with the corpus."""
_TOLD = ("texts", "compared_as", "movement", "unmoved", "similarities", "overlap")


def drift_since(standing: Standing, versions: Versions, name: str, laps: Laps) -> dict[str, Any]:
    """What the version `name` tells of its drift: `how`, since the version `before`, and `why` where not `COMPARED`.

    Nothing is read where rows were copied from the version before, for these cannot have moved. The new version is good
    whatever is wrong with the other: an error is a reason not to have compared them.
    """
    before = standing.latest
    if before is None:
        return {"how": NOT_COMPARED, "before": None, "why": "there is no version before"}
    if standing.reuse == before:
        return {"how": COPIED, "before": before, "why": "embeddings of texts that were there before are copies"}
    old, new = (versions.folder(version, EMBEDDINGS) for version in (before, name))
    try:
        found = dataclasses.asdict(drift(old, new, _SIZE, _MOST_ROWS))
    except Exception as error:
        return {"how": NOT_COMPARED, "before": before, "why": _reason(error)}
    finally:
        laps.end("comparison")
    return {"how": COMPARED, "before": before, **{part: found[part] for part in _TOLD}}


def _reason(error: Exception) -> str:
    line = reason_of(error)
    return line if isinstance(error, StRayError) else masked(f"{type(error).__name__}: {line}")
