"""Folders in the cache that stay while processes hold them, and go when others come."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from st_ray.models import cache
from st_ray.models.cache import CacheError, cached_folder, held_folder

HOLD = """
import sys
from st_ray.models.cache import held_folder

def make(target):
    (target / "part").write_text(sys.argv[1])
    if sys.argv[2] == "stuck":
        print("making", flush=True)
        sys.stdin.read()

print((held_folder("examples", sys.argv[1], make) / "part").read_text(), flush=True)
sys.stdin.read()
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a process that holds a folder, or is still making it, until it is killed."""
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path))
    with ExitStack() as stack:

        def run(key: str, how: str = "whole") -> subprocess.Popen[str]:
            command = [sys.executable, "-c", HOLD, key, how]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def hold(key: str) -> str:
    return (held_folder("examples", key, lambda target: write(target, key)) / "part").read_text()


def write(target: Path, key: str) -> None:
    (target / "part").write_text(key)


def left(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] or path.name.split(".")[1] + " unfinished" for path in folder.iterdir()}


def test_what_a_process_holds_stays_and_goes_after_it(start: Start, tmp_path: Path) -> None:
    one, other = start("one"), start("two")
    assert (said(one), said(other)) == ("one", "two")
    cached_folder("models", "one", lambda target: write(target, "a model"))
    assert hold("three") == "three"
    assert left(tmp_path / "examples") == {"one", "two", "three"}
    killed(one)
    assert left(tmp_path / "examples") == {"one", "two", "three"}  # who goes on with it need not fetch it again
    assert hold("four") == "four"
    assert left(tmp_path / "examples") == {"two", "three", "four"}
    assert hold("one") == "one"
    assert left(tmp_path / "models") == {"one"}


def test_what_a_killed_process_was_making_goes(start: Start, tmp_path: Path) -> None:
    one = start("one", "stuck")
    assert said(one) == "making"
    hold("two")
    assert left(tmp_path / "examples") == {"one unfinished", "two"}
    killed(one)
    hold("three")
    assert left(tmp_path / "examples") == {"two", "three"}


def test_a_removal_that_is_cut_short_leaves_nothing_that_looks_whole(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start("one")
    assert said(one) == "one"
    killed(one)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache.shutil, "rmtree", die)
        hold("two")
    assert "one" not in left(tmp_path / "examples")
    assert (hold("one"), hold("two")) == ("one", "two")
    assert left(tmp_path / "examples") >= {"one", "two"}


def test_many_processes_that_come_and_go_at_once(start: Start, tmp_path: Path) -> None:
    for _ in range(2):
        processes = {start(key): key for key in ("one", "two", "one", "two")}
        assert {process: said(process) for process in processes} == processes
        for process in processes:
            killed(process)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match=r"cannot write to the cache folder .*file[\s\S]*ST_RAY_CACHE"):
        hold("one")
