"""`python -m tests.ray.stub_job` is jobs.encode with an encoder that needs no torch."""

from __future__ import annotations

from jobs._cli import run_job, tell_result
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.runtime.encode.summary import encode_summary
from tests.stubs import StubLoader


def run(config: EncodeConfig) -> str:
    result = encode(config, StubLoader())
    return tell_result(result, encode_summary(result))


if __name__ == "__main__":
    run_job(EncodeConfig, run)
