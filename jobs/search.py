"""`python -m jobs.search`: the nearest rows of a corpus for many queries, as committed, resumable hits."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.search.config import SearchConfig


def main() -> None:
    """Entry point."""
    run_job(SearchConfig, _run)


def _run(config: SearchConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and the libraries of the search load after the flags are known to be good.
    from st_ray.runtime.search.job import search
    from st_ray.runtime.search.summary import search_summary

    result = search(config)
    return tell_result(result, search_summary(result))


if __name__ == "__main__":
    main()
