"""`python -m jobs.score_pairs`: pairs of texts with the scores of a cross-encoder, for a student to learn from."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.score_pairs.config import ScorePairsConfig


def main() -> None:
    """Entry point."""
    run_job(ScorePairsConfig, _run)


def _run(config: ScorePairsConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and the libraries of models load after the flags are known to be good.
    from st_ray.runtime.score_pairs.job import score_pairs
    from st_ray.runtime.score_pairs.summary import score_pairs_summary

    result = score_pairs(config)
    return tell_result(result, score_pairs_summary(result))


if __name__ == "__main__":
    main()
