"""`python -m jobs.reembed`: a corpus that changes, embedded and indexed again for the price of what has changed."""

from __future__ import annotations

from jobs._cli import run_job, tell_result, tell_summary
from st_ray.runtime.reembed.config import ReembedConfig


def main() -> None:
    """Entry point."""
    run_job(ReembedConfig, _run)


def _run(config: ReembedConfig) -> str:
    """Do it, and return where the version lies; nothing where none was made."""
    # Ray and the model libraries load after the flags are known to be good.
    from st_ray.runtime.clock import process_seconds
    from st_ray.runtime.reembed.job import reembed
    from st_ray.runtime.reembed.plan import plan_reembed
    from st_ray.runtime.reembed.summary import plan_reembed_summary, reembed_summary

    if config.plan:
        plan = plan_reembed(config)
        tell_summary("plan", plan_reembed_summary(plan), **plan.figures)
        return ""
    imports = process_seconds()
    result = reembed(config)
    return tell_result(result, reembed_summary(result, imports))


if __name__ == "__main__":
    main()
