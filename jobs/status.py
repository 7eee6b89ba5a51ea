"""`python -m jobs.status`: where outputs stand, running, dead or finished; it needs no Ray."""

from __future__ import annotations

import contextlib
import sys
import time

from jobs._cli import run_job
from st_ray.core.errors import InputError, StRayError
from st_ray.runtime.status.config import StatusConfig
from st_ray.runtime.status.show import as_json, line, screen
from st_ray.store.status import Status, status_of
from st_ray.store.versions import newest_outputs


def main() -> None:
    """Entry point."""
    run_job(StatusConfig, _run)


def _run(config: StatusConfig) -> str:
    """Print what there is to say; nothing is made."""
    if config.watch is None:
        _look(config)
        return ""
    with contextlib.suppress(KeyboardInterrupt):
        while _look(config):
            time.sleep(config.watch)
    return ""


def _look(config: StatusConfig) -> bool:
    """Print where all outputs stand; whether one of them is being made."""
    found: list[Status] = []
    failed: list[StRayError] = []
    folders = [folder for output in config.outputs for folder in newest_outputs(output)]
    for folder in folders:
        try:
            found.append(status_of(folder))
        except StRayError as error:
            failed.append(error)
    show = line if len(folders) > 1 else screen
    if config.json or config.log_format == "json":
        show = as_json
    elif config.watch is not None and sys.stdout.isatty():
        print("\x1b[H\x1b[2J", end="")
    for status in found:
        print(show(status), flush=True)
    if len(failed) > 1:
        lines = ["several outputs cannot be read:", *(error.message for error in failed)]
        raise InputError("\n     ".join(lines), failed[0].remedy)
    if failed:
        raise failed[0]
    return any(status.state == "running" for status in found)


if __name__ == "__main__":
    main()
