"""`python -m jobs.evaluate_cross_encoder`: a cross-encoder's figures on labelled pairs, with a report to look at."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig


def main() -> None:
    """Entry point."""
    run_job(EvaluateCrossEncoderConfig, _run)


def _run(config: EvaluateCrossEncoderConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and the libraries of models load after the flags are known to be good.
    from st_ray.runtime.evaluation.cross_encoder import evaluate_cross_encoder
    from st_ray.runtime.evaluation.summary import evaluate_cross_encoder_summary

    result = evaluate_cross_encoder(config)
    return tell_result(result, evaluate_cross_encoder_summary(result))


if __name__ == "__main__":
    main()
