"""`python -m jobs.mine_hard_negatives`: documents that are close to a query, but are none of its positives."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.mining.negatives.config import MineHardNegativesConfig


def main() -> None:
    """Entry point."""
    run_job(MineHardNegativesConfig, _run)


def _run(config: MineHardNegativesConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray loads after the flags are known to be good.
    from st_ray.runtime.mining.negatives.job import mine_hard_negatives
    from st_ray.runtime.mining.negatives.summary import negatives_summary

    result = mine_hard_negatives(config)
    return tell_result(result, negatives_summary(result))


if __name__ == "__main__":
    main()
