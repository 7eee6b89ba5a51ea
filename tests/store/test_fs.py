"""Atomic writes on a file system and on an object store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from st_ray.core.errors import InputError, OutputError
from st_ray.store import fs


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder of either kind."""
    if request.param == "local":
        return str(tmp_path)
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def test_write_then_read_and_replace(place: str) -> None:
    url = fs.join(place, "deep", "file.bin")
    fs.write_atomic(url, b"one")
    fs.write_atomic(url, b"two, longer")
    assert fs.read_bytes(url) == b"two, longer"
    assert fs.size_of(url) == 11
    assert fs.list_files(fs.join(place, "deep")) == ["file.bin"]


def test_the_first_creator_wins(place: str) -> None:
    url = fs.join(place, "lock")
    assert fs.create_exclusive(url, b"first")
    assert not fs.create_exclusive(url, b"second")
    assert fs.read_bytes(url) == b"first"
    assert fs.list_files(place) == ["lock"]


def test_absent_things_are_absent(place: str) -> None:
    assert not fs.exists(fs.join(place, "none"))
    assert fs.size_of(fs.join(place, "none")) is None
    assert fs.list_files(fs.join(place, "none")) == []
    fs.remove(fs.join(place, "none"), recursive=True)


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    fs.write_atomic(str(target), b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*file: the disk at /.* is full, .*No space left") as error:
        fs.write_atomic(str(target), b"new")
    assert error.value.remedy == "make room there"
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_named() -> None:
    with pytest.raises(OutputError, match="/proc/nowhere/file"):
        fs.write_atomic("/proc/nowhere/file", b"x")


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(InputError, match="carrier-pigeon"):
        fs.open_fs("carrier-pigeon://x/y")
