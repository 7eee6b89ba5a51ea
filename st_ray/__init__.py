"""Sentence Transformers' batch work at cluster scale, on Ray.

The names below load when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = {"BiEncoder": "st_ray.models.bi_encoder"}

__all__ = ["BiEncoder"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
