"""`python -m jobs.mine_paraphrases`: the pairs of rows that are most alike, as committed, resumable parts."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.mining.paraphrases.config import MineParaphrasesConfig


def main() -> None:
    """Entry point."""
    run_job(MineParaphrasesConfig, _run)


def _run(config: MineParaphrasesConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and torch load after the flags are known to be good.
    from st_ray.runtime.mining.paraphrases.job import mine_paraphrases
    from st_ray.runtime.mining.paraphrases.summary import mine_paraphrases_summary

    result = mine_paraphrases(config)
    return tell_result(result, mine_paraphrases_summary(result))


if __name__ == "__main__":
    main()
