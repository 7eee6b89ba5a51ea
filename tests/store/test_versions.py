"""Versions and the pointer to the latest: their names, what readers see while it moves, and removals cut short."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.errors import OutputError
from st_ray.store import fs
from st_ray.store.manifest import Manifest
from st_ray.store.versions import KIND, Versions, at_version, is_version_name, read_pointer, version_name

MOMENTS = st.datetimes(datetime(2001, 1, 1), datetime(2100, 1, 1))
ONE, TWO, THREE = (f"v-2026112{day}T080906Z" for day in (1, 2, 3))


def made(versions: Versions, name: str) -> str:
    """A whole version with something in it."""
    output = versions.output(name)
    output.begin({"made": name})
    for within in ("embeddings/data/part", "embeddings/manifest.json", "index/index.faiss", "report.html"):
        fs.write_atomic(versions.folder(name, within), name.encode())
    output.finish(Manifest(KIND, {"made": name}, ()))
    return name


@given(MOMENTS, st.lists(MOMENTS))
def test_a_new_name_sorts_behind_all_others(moment: datetime, others: list[datetime]) -> None:
    names = [version_name(other, []) for other in others]
    new = version_name(moment, names)
    assert all(map(is_version_name, [*names, new]))
    assert all(name < new for name in names)
    if all(other + timedelta(seconds=1) < moment for other in others):
        assert new == moment.strftime("v-%Y%m%dT%H%M%SZ")


@pytest.mark.parametrize("name", ["v-2026", "v-20261322T080906Z", "v-20261122T080906Z.old", "w-20261122T080906Z", ""])
def test_other_names_are_no_versions(name: str) -> None:
    assert not is_version_name(name)


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "root")
    return f"{request.getfixturevalue('s3')}/versions-{tmp_path.name}/root"


def test_the_pointer_leads_to_the_latest(root: str) -> None:
    versions = Versions(root)
    versions.check_usable()
    assert (versions.latest(), versions.names()) == (None, [])
    assert at_version(f"{root}/latest/index") == f"{root}/latest/index"
    for name in (made(versions, ONE), made(versions, TWO)):
        versions.publish(name)
        assert versions.latest() == name
        assert at_version(f"{root}/latest/index") == f"{root}/{name}/index"
    assert at_version(f"{root}/latest/") == f"{root}/{TWO}/"
    assert at_version(f"{root}/latest") == f"{root}/latest"  # the file itself
    assert versions.names() == [ONE, TWO]
    versions.check_usable()


def test_other_things_called_latest_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    assert at_version(f"{tmp_path}/latest/a.jsonl") == f"{tmp_path}/latest/a.jsonl"
    (tmp_path / "long").mkdir()
    for content in (b"v-20261122T080906Z" * 9, b"../../etc", b"\xff\xfe", b""):
        (tmp_path / "long" / "latest").write_bytes(content)
        assert read_pointer(f"{tmp_path}/long/latest") is None
    for url in ("https://example.invalid/releases/latest/corpus.jsonl", "package:latest/x", "latest", "prompt: "):
        assert at_version(url) == url


def test_readers_always_find_a_whole_version(root: str) -> None:
    versions = Versions(root)
    for name in (made(versions, ONE), made(versions, TWO)):
        versions.publish(name)
    stop = threading.Event()

    def move() -> None:
        while not stop.is_set():
            for name in (ONE, TWO):
                versions.publish(name)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        seen = {fs.read_bytes(at_version(f"{root}/latest/index/index.faiss")).decode() for _ in range(60)}
    finally:
        stop.set()
        mover.join()
    assert seen <= {ONE, TWO}


def test_nothing_foreign_is_a_version_or_removed(root: str) -> None:
    versions = Versions(root)
    made(versions, ONE)
    fs.write_atomic(f"{root}/{TWO}/photo.jpg", b"x")
    fs.write_atomic(f"{root}/{THREE}/run.json", b'{"kind": "embeddings", "run_id": "", "lineage": {}}')
    fs.write_atomic(f"{root}/notes/a.txt", b"x")
    assert versions.names() == [ONE]
    assert versions.new_name(datetime(2020, 1, 1)) > THREE
    fs.write_atomic(f"{root}/{ONE}/hits.parquet", b"x")
    versions.remove(ONE)
    assert versions.names() == []
    assert fs.list_names(f"{root}/{ONE}") == ["hits.parquet"]
    assert fs.exists(f"{root}/{TWO}/photo.jpg")


@pytest.mark.parametrize("steps", range(5))
def test_a_removal_cut_short_is_gone_on_with(steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = Versions(str(tmp_path))
    made(versions, ONE)
    left = steps
    really = fs.remove

    def remove(url: str, recursive: bool = False) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        really(url, recursive)

    monkeypatch.setattr(fs, "remove", remove)
    with pytest.raises(KeyboardInterrupt):
        versions.remove(ONE)
    monkeypatch.undo()
    assert versions.names() == [ONE]
    assert versions.is_whole(ONE) == (steps == 0)
    versions.remove(ONE)
    assert list(tmp_path.iterdir()) == []


def test_where_versions_cannot_lie(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "run.json").write_text("{}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "latest").mkdir()
    for name, message in (("file", "is a file"), ("output", "the output of a job"), ("other", "has not written it")):
        with pytest.raises(OutputError, match=message):
            Versions(str(tmp_path / name)).check_usable()
    with pytest.raises(OutputError, match=r"holds one of \* \? \["):
        Versions("s3://bucket/root*").check_usable()


def test_a_pointer_to_nowhere_is_named(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path))
    versions.publish(ONE)
    with pytest.raises(OutputError, match=f"latest names {ONE}, which is not there as a whole"):
        versions.latest()
