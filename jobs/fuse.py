"""`python -m jobs.fuse`: the hits of several searches as one ranking a query, by ranks or by scores."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.fuse.config import FuseConfig


def main() -> None:
    """Entry point."""
    run_job(FuseConfig, _run)


def _run(config: FuseConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray loads after the flags are known to be good.
    from st_ray.runtime.fuse.job import fuse
    from st_ray.runtime.fuse.summary import fuse_summary

    result = fuse(config)
    return tell_result(result, fuse_summary(result))


if __name__ == "__main__":
    main()
