"""`python -m jobs.train_cross_encoder`: a cross-encoder out of labelled pairs, tuples or a teacher's scores."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.training.config import TrainCrossEncoderConfig


def main() -> None:
    """Entry point."""
    run_job(TrainCrossEncoderConfig, _run)


def _run(config: TrainCrossEncoderConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and the libraries of models load after the flags are known to be good.
    from st_ray.runtime.training.job import train_model
    from st_ray.runtime.training.summary import training_summary

    result = train_model(config)
    return tell_result(result, training_summary(result, "CrossEncoder"))


if __name__ == "__main__":
    main()
