"""`python -m jobs.detect_communities`: groups of alike rows of an embedding store, each around a centre."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.mining.communities.config import DetectCommunitiesConfig


def main() -> None:
    """Entry point."""
    run_job(DetectCommunitiesConfig, _run)


def _run(config: DetectCommunitiesConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray loads after the flags are known to be good.
    from st_ray.runtime.mining.communities.job import detect_communities
    from st_ray.runtime.mining.communities.summary import communities_summary

    result = detect_communities(config)
    return tell_result(result, communities_summary(result))


if __name__ == "__main__":
    main()
