"""`python -m jobs.compare_stores`: how far two versions of an embedding store are apart; it needs no Ray."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.compare_stores.config import CompareStoresConfig


def main() -> None:
    """Entry point."""
    run_job(CompareStoresConfig, _run)


def _run(config: CompareStoresConfig) -> str:
    """Do it, and return where the result lies."""
    # Libraries load after the flags are known to be good.
    from st_ray.runtime.compare_stores.job import compare_stores
    from st_ray.runtime.compare_stores.summary import compare_stores_summary

    result = compare_stores(config)
    return tell_result(result, compare_stores_summary(result))


if __name__ == "__main__":
    main()
