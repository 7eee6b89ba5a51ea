"""`python -m jobs.train_bi_encoder`: a bi-encoder out of pairs with similarities."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.training.config import TrainBiEncoderConfig


def main() -> None:
    """Entry point."""
    run_job(TrainBiEncoderConfig, _run)


def _run(config: TrainBiEncoderConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and the libraries of models load after the flags are known to be good.
    from st_ray.runtime.training.job import train_model
    from st_ray.runtime.training.summary import training_summary

    result = train_model(config)
    return tell_result(result, training_summary(result, "BiEncoder"))


if __name__ == "__main__":
    main()
