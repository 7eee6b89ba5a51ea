"""`python -m jobs.encode`: embed a corpus into a committed, resumable store."""

from __future__ import annotations

from jobs._cli import run_job, tell_result, tell_summary
from st_ray.runtime.encode.config import EncodeConfig


def main() -> None:
    """Entry point."""
    run_job(EncodeConfig, _run)


def _run(config: EncodeConfig) -> str:
    """Do it, and return where the result lies; nothing where there is none."""
    # Ray and the model libraries load after the flags are known to be good.
    from st_ray.runtime.clock import process_seconds
    from st_ray.runtime.encode.job import encode
    from st_ray.runtime.encode.plan import plan_encode
    from st_ray.runtime.encode.summary import encode_summary, plan_summary

    if config.plan:
        plan = plan_encode(config)
        tell_summary("plan", plan_summary(plan), **plan.figures)
        return ""
    imports = process_seconds()
    result = encode(config)
    return tell_result(result, encode_summary(result, imports))


if __name__ == "__main__":
    main()
