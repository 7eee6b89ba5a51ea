"""Passwords in the environment that requests go by: no message of a job shows them."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec.config
import pytest

from jobs._cli import run_job
from st_ray.runtime.config import JobConfig
from st_ray.store import fs
from st_ray.store.s3 import ObjectStore

PASSWORD = "secret-of-tests"
URL = f"http://someone:{PASSWORD}@127.0.0.1:9"
"""Where nobody listens."""


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.invalid")
    ObjectStore.clear_instance_cache()
    yield
    ObjectStore.clear_instance_cache()


@pytest.mark.parametrize("named", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "http_proxy", "fsspec"])
def test_a_password_is_not_shown(
    named: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if named == "fsspec":
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": URL})
    else:
        monkeypatch.setenv(named, URL)
    with pytest.raises(SystemExit):
        run_job(JobConfig, lambda config: str(fs.list_files(config.output)), ["--output", "s3://bucket/x", "--debug"])
    shown = capfd.readouterr()
    assert "error: s3://bucket/x: the store refuses or does not answer" in shown.err
    assert named != "http_proxy" or "http://***@127.0.0.1:9" in shown.err
    assert "Traceback" in shown.err
    assert PASSWORD not in shown.out + shown.err
