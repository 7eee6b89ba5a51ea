"""From a job's config back to its command line."""

from __future__ import annotations

import dataclasses
import re
import shlex
from typing import Any

from st_ray.runtime.config import Names


def job_of(config_type: type) -> str:
    """The module of `jobs` that has these flags: `EvaluateSimilarityConfig` -> `evaluate_similarity`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", config_type.__name__.removesuffix("Config")).lower()


def command_of(config: Any) -> str:
    """What is typed in a shell to get this config: flags that it cannot do without, and those that differ."""
    words = ["python", "-m", f"jobs.{job_of(type(config))}"]
    for field in sorted(dataclasses.fields(config), key=lambda field: field.default is not dataclasses.MISSING):
        value = getattr(config, field.name)
        if value != field.default:
            words += _words("--" + field.name.replace("_", "-"), value)
    return shlex.join(words)


def _words(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, Names):
        value = ",".join(value)
    texts = list(map(str, value)) if isinstance(value, tuple) else [str(value)]
    # What begins with a dash would be taken for a flag.
    return [f"{flag}={texts[0]}", *texts[1:]] if texts and texts[0].startswith("-") else [flag, *texts]
