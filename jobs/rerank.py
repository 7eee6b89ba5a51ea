"""`python -m jobs.rerank`: hits scored again by a cross-encoder, as committed, resumable hits."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.rerank.config import RerankConfig


def main() -> None:
    """Entry point."""
    run_job(RerankConfig, _run)


def _run(config: RerankConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and the libraries of models load after the flags are known to be good.
    from st_ray.runtime.rerank.job import rerank
    from st_ray.runtime.rerank.summary import rerank_summary

    result = rerank(config)
    return tell_result(result, rerank_summary(result))


if __name__ == "__main__":
    main()
