"""What a result was made from: named parts (inputs, model, settings) and their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Lineage = Mapping[str, Any]
"""Part name -> JSON value. Contents and settings, never paths or times: equal lineage means equal output."""


def lineage_digest(lineage: Lineage) -> str:
    """Hexadecimal digest of all parts, independent of their order."""
    canonical = json.dumps(dict(lineage), sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def lineage_differences(before: Lineage, now: Lineage) -> list[str]:
    """One readable line for each part that differs, e.g. `prompt: '' before, 'query: ' now`."""
    names = sorted(set(before) | set(now))
    return [
        f"{name}: {_show(before, name)} before, {_show(now, name)} now"
        for name in names
        if before.get(name, _ABSENT) != now.get(name, _ABSENT)
    ]


_ABSENT = object()


def _show(lineage: Lineage, name: str) -> str:
    return repr(lineage[name]) if name in lineage else "absent"
