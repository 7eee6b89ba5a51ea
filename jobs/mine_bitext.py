"""`python -m jobs.mine_bitext`: the translations among the texts of two collections."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.mining.bitext.config import MineBitextConfig


def main() -> None:
    """Entry point."""
    run_job(MineBitextConfig, _run)


def _run(config: MineBitextConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray loads after the flags are known to be good.
    from st_ray.runtime.mining.bitext.job import mine_bitext
    from st_ray.runtime.mining.bitext.summary import bitext_summary

    result = mine_bitext(config)
    return tell_result(result, bitext_summary(result))


if __name__ == "__main__":
    main()
