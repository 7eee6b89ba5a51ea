"""`python -m jobs.export_model`: a model folder with a graph for ONNX Runtime or OpenVINO beside its weights."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.export.config import ExportModelConfig


def main() -> None:
    """Entry point."""
    run_job(ExportModelConfig, _run)


def _run(config: ExportModelConfig) -> str:
    """Do it, and return where the result lies."""
    # torch and the exporters load after the flags are known to be good.
    from st_ray.runtime.export.job import export_model
    from st_ray.runtime.export.summary import export_summary

    result = export_model(config)
    return tell_result(result, export_summary(result))


if __name__ == "__main__":
    main()
