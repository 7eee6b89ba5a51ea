"""A driver of its own for tests that kill it: `python -m tests.ray.drive_reembed SOURCE ROOT STEP`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any
from unittest import mock

from st_ray.runtime.reembed.job import reembed
from tests.ray.corpora import nightly_for
from tests.stubs import StubLoader

STEPS = {
    "index": "st_ray.runtime.reembed.job.build_index",
    "pointer": "st_ray.store.versions.Versions.publish",
    "removal": "st_ray.store.versions.Versions.remove",
}


def main() -> None:
    source, root, step = sys.argv[1:]
    with mock.patch(STEPS[step], _die):
        reembed(nightly_for(source, root), StubLoader())


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
