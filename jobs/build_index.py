"""`python -m jobs.build_index`: a FAISS index over an embedding store, built in parts and measured."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.build_index.config import BuildIndexConfig


def main() -> None:
    """Entry point."""
    run_job(BuildIndexConfig, _run)


def _run(config: BuildIndexConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and faiss load after the flags are known to be good.
    from st_ray.runtime.build_index.job import build_index
    from st_ray.runtime.build_index.summary import build_index_summary

    result = build_index(config)
    return tell_result(result, build_index_summary(result))


if __name__ == "__main__":
    main()
