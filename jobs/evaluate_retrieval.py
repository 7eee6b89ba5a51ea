"""`python -m jobs.evaluate_retrieval`: nDCG, MRR, MAP, recall and the like of search results, from judgements."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.evaluation.retrieval import (
    EvaluateRetrievalConfig,
    evaluate_retrieval,
    evaluate_retrieval_summary,
)


def main() -> None:
    """Entry point."""
    run_job(EvaluateRetrievalConfig, _run)


def _run(config: EvaluateRetrievalConfig) -> str:
    """Do it, and return where the result lies."""
    result = evaluate_retrieval(config)
    return tell_result(result, evaluate_retrieval_summary(result))


if __name__ == "__main__":
    main()
