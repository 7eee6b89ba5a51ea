"""`python -m jobs.evaluate_similarity`: how a bi-encoder's similarities correlate with gold scores."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.evaluation.config import EvaluateSimilarityConfig


def main() -> None:
    """Entry point."""
    run_job(EvaluateSimilarityConfig, _run)


def _run(config: EvaluateSimilarityConfig) -> str:
    """Do it, and return where the result lies."""
    # Ray and the libraries of models load after the flags are known to be good.
    from st_ray.runtime.evaluation.similarity import evaluate_similarity
    from st_ray.runtime.evaluation.summary import evaluate_similarity_summary

    result = evaluate_similarity(config)
    return tell_result(result, evaluate_similarity_summary(result))


if __name__ == "__main__":
    main()
