"""Every command of README and docs/, run: page by page, in one folder that looks like a fresh clone, on one Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.markdown import ROOT, pages
from docs.run import Clone
from tests.ray.heads import free_port, started_head, wait_for_port


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Iterator[Clone]:
    port, folder = free_port(), tmp_path_factory.mktemp("clone")
    options = ["--port", str(port), "--num-cpus", "2", "--include-dashboard", "false"]
    with started_head(tmp_path_factory.mktemp("head"), *options):  # in another folder than the commands
        wait_for_port(port)
        yield Clone(folder, {"RAY_ADDRESS": f"127.0.0.1:{port}"})


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_the_page_runs(page: Path, clone: Clone) -> None:
    clone.run(page)
