"""A driver process of its own for tests that kill it: `python -m tests.ray.drive SOURCE OUTPUT [--die AT] [...]`."""

from __future__ import annotations

import argparse
import os
import signal

from st_ray.core.errors import StRayError
from st_ray.runtime.encode.job import encode
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder
from tests.ray.corpora import config_for
from tests.stubs import StubLoader


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--hold", default="")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--actors", default="1")
    parser.add_argument("--die-before-manifest", action="store_true")
    args = parser.parse_args()
    if args.die_before_manifest:
        OutputFolder.finish = _die  # type: ignore[method-assign]
    try:
        encode(
            config_for(args.source, args.output, actors=args.actors), StubLoader(hold=args.hold, seconds=args.seconds)
        )
    except StRayError as error:
        raise SystemExit(f"error: {error}") from None


def _die(self: OutputFolder, manifest: Manifest) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
