"""What a job tells of itself while it runs, for who looks at its output; nothing is ever decided by it.

    OUTPUT/staging/stage.json    the plan of the stage whose parts the output holds
    OUTPUT/staging/errors.json   the last errors

Both are gone when the output is finished. Stages within a job have outputs of their own, with the same files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import StRayError, masked, reason_of
from st_ray.store import fs

STAGING = "staging"
"""Folder of an output for what is there only until it is finished."""
CHECKPOINTS = "checkpoints"
"""Folder in that for the checkpoints of a training."""
_STAGE, _ERRORS = "stage.json", "errors.json"
_KEPT = 20
_LONGEST = 2000


@dataclass(frozen=True)
class StagePlan:
    """What a stage is going to do.

    Attributes:
        label: what is done.
        noun: what the rows are called.
        rows: of each shard.
        suffix: file name ending of the parts; None where there are checkpoints in place of parts.
        at: when the run that says so came to the stage, in seconds since the epoch.
    """

    label: str
    noun: str
    rows: tuple[int, ...]
    suffix: str | None
    at: float


@dataclass(frozen=True)
class NotedError:
    """What went wrong, when, and what to do about it.

    Attributes:
        shard: name of the part that was not made; empty where the error ended a run.
        at: in seconds since the epoch.
    """

    message: str
    remedy: str
    shard: str
    at: float


def note_stage(folder: str, plan: StagePlan) -> None:
    """Say what the output `folder` is going to hold."""
    fs.write_atomic(fs.join(folder, STAGING, _STAGE), json.dumps(dataclasses.asdict(plan)).encode())


def read_stage(folder: str) -> StagePlan | None:
    """What was said last; None where nothing was."""
    found = _read(fs.join(folder, STAGING, _STAGE))
    if not isinstance(found, dict):
        return None
    return StagePlan(found["label"], found["noun"], tuple(found["rows"]), found["suffix"], found["at"])


def note_error(folder: str, error: BaseException, shard: str = "") -> None:
    """Keep the error with the last ones; that it cannot be kept is no further error."""
    message, remedy = (error.message, error.remedy) if isinstance(error, StRayError) else (_told(error), "")
    noted = NotedError(message[:_LONGEST], remedy[:_LONGEST], shard, round(time.time(), 3))
    with contextlib.suppress(OSError, StRayError):
        # It may be this very store that fails: nobody waits long for it.
        kept = [*read_errors(folder, brief=True), noted][-_KEPT:]
        document = json.dumps([dataclasses.asdict(one) for one in kept], indent=1, ensure_ascii=False)
        fs.write_atomic(fs.join(folder, STAGING, _ERRORS), document.encode("utf-8", "replace"), brief=True)


def read_errors(folder: str, *, brief: bool = False) -> tuple[NotedError, ...]:
    """Those that are kept, the last one at the end. `brief`: see `fs.open_fs`."""
    found = _read(fs.join(folder, STAGING, _ERRORS), brief)
    return tuple(_error_of(one) for one in found) if isinstance(found, list) else ()


def _error_of(found: Mapping[str, Any]) -> NotedError:
    return NotedError(found["message"], found["remedy"], found["shard"], found["at"])


def _told(error: BaseException) -> str:
    return masked(f"{type(error).__name__}: {reason_of(error)}")


def _read(url: str, brief: bool = False) -> Any:
    try:
        return json.loads(fs.read_bytes(url, brief=brief))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return None  # damaged; the next run writes it anew
