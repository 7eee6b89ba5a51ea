"""What an object store does to us at scale: errors, lost answers, bodies cut short, writers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from st_ray.core.errors import OutputError, StoreError
from st_ray.store import fs
from st_ray.store.lock import OutputLock
from st_ray.store.output import OutputFolder, Part
from st_ray.store.readers.files import read_blocks
from st_ray.store.s3 import ObjectStore
from tests.faulty_store import FAULTS, FaultyStore, first

LOOKS = ("exists", "size")
READS = ("read", "read in ranges", "read many", "list")
OPENED = ("blocks", "fetch")
WRITES = ("write", "create", "remove")
LASTING = ("503", "refused", "cut body")
CASES = [
    pytest.param(what, fault, id=f"{what}, {fault}")
    for what in (*LOOKS, *READS, *OPENED, *WRITES)
    for fault in FAULTS
    if fault != "cut body" or what in (*READS, *OPENED, "remove")  # the answers to others have no body
]


@pytest.fixture
def place(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of the store; between tries there is next to no wait."""
    monkeypatch.setattr("botocore.retryhandler.random", SimpleNamespace(random=lambda: 0.001))
    return f"{s3}/{tmp_path.name}"


def act(what: str, folder: str, tmp_path: Path) -> Any:
    url = fs.join(folder, "file")
    actions: dict[str, Callable[[], Any]] = {
        "write": lambda: fs.write_atomic(url, b"new"),
        "create": lambda: fs.create_exclusive(fs.join(folder, "lock"), b"mine"),
        "remove": lambda: fs.remove(folder, recursive=True),
        "exists": lambda: fs.exists(url),
        "size": lambda: fs.size_of(url),
        "read": lambda: fs.read_bytes(url),
        "read in ranges": lambda: fs.read_bytes(url),
        "read many": lambda: fs.read_files(folder, ["file", "gone", "other"]),
        "list": lambda: fs.list_files(folder),
        "blocks": lambda: b"".join(read_blocks(url)),
        "fetch": lambda: fetched(url, tmp_path),
    }
    return actions[what]()


def fetched(url: str, tmp_path: Path) -> bytes:
    filesystem, path = fs.open_fs(url)
    filesystem.get([path], [str(tmp_path / "copy")])
    return (tmp_path / "copy").read_bytes()


@pytest.mark.parametrize(("what", "fault"), CASES)
def test_a_fault_is_tried_again(
    what: str, fault: str, place: str, tmp_path: Path, store_server: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "read in ranges":
        monkeypatch.setattr(fs, "_RANGE_BYTES", 1000)
    content = bytes(range(256)) * 20
    fs.write_atomic(fs.join(place, "file"), content)
    fs.write_atomic(fs.join(place, "other"), b"else")
    expected = {
        "exists": True,
        "size": len(content),
        "read many": [content, b"else"],
        "list": ["file", "other"],
        "create": True,
        "write": None,
        "remove": None,
    }
    # A HEAD, which goes before, has no body.
    method = "GET" if fault == "cut body" and what != "remove" else ""
    with store_server.failing(first(fault, 2, method)) as met:
        assert act(what, place, tmp_path) == expected.get(what, content)
    assert met[fault] == 2
    if what == "write":
        assert fs.read_bytes(fs.join(place, "file")) == b"new"
    if what == "create":
        assert fs.read_bytes(fs.join(place, "lock")) == b"mine"
    if what == "remove":
        assert fs.list_names(place) == []


def test_a_creator_whose_receipt_was_lost_has_won(place: str, store_server: FaultyStore) -> None:
    url = fs.join(place, "lock")
    with store_server.failing(first("no answer", method="PUT")) as met:
        assert fs.create_exclusive(url, b"mine")
        assert met["no answer"]
    with store_server.failing(first("no answer", method="PUT")) as met:
        assert not fs.create_exclusive(url, b"another's")
        assert met["no answer"]
    assert fs.read_bytes(url) == b"mine"


def test_a_lock_whose_receipt_was_lost_is_held(place: str, store_server: FaultyStore) -> None:
    url = fs.join(place, "lock.json")
    with store_server.failing(first("no answer", method="PUT")) as met, OutputLock(url):
        assert met["no answer"]
        assert fs.exists(url)
    assert not fs.exists(url)


def test_a_store_that_does_not_name_the_condition(place: str, store_server: FaultyStore) -> None:
    url = fs.join(place, "lock")
    fs.write_atomic(url, b"first")
    with store_server.failing(first("412", method="PUT")) as met:
        assert not fs.create_exclusive(url, b"second")
        assert met["412"]
    with store_server.failing(first("412", method="PUT")):
        assert fs.create_exclusive(url, b"first")


@pytest.mark.parametrize(
    ("what", "fault"), [case for case in CASES if case.values[0] not in OPENED and case.values[1] in LASTING]
)
def test_a_store_that_always_fails_ends_in_one_error_that_names_it(
    what: str, fault: str, place: str, tmp_path: Path, store_server: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 2)
    fs.write_atomic(fs.join(place, "file"), b"x" * 5000)
    with store_server.failing(first(fault, 10**6)) as met, pytest.raises(StoreError) as error:
        act(what, place, tmp_path)
    assert place in error.value.message
    assert "AWS_ENDPOINT_URL" in error.value.remedy
    assert 2 <= met[fault] <= 12  # three files, each twice, and once more by aiohttp


def test_an_exception_in_the_midst_of_a_write_shows_nothing(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = fs.join(place, "part")
    calls = []

    async def interrupted(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        calls.append(method)
        if calls.count("upload_part") == 2:
            raise MemoryError
        return await real(self, method, *args, **kwargs)

    real = ObjectStore._call_s3
    monkeypatch.setattr(ObjectStore, "_call_s3", interrupted)
    with pytest.raises(MemoryError):
        fs.write_atomic(url, bytes(101 << 20))
    assert "abort_multipart_upload" in calls
    assert not fs.exists(url)
    assert fs.list_names(place) == []


@pytest.mark.parametrize("within", ["partNumber=2", "uploadId="])
def test_a_writer_killed_in_the_midst_of_a_large_upload_shows_nothing(
    within: str, place: str, store_server: FaultyStore
) -> None:
    url = fs.join(place, "data", "part-00000.parquet")
    script = "import sys; from st_ray.store import fs; fs.write_atomic(sys.argv[1], bytes(101 << 20))"
    begun, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> str:
        # The second part, or the request that would make an object of the parts.
        if within in path and (method == "POST") == (within == "uploadId="):
            begun.set()
            go_on.wait(60)
            return "refused"
        return ""

    with store_server.failing(hold):
        writer = subprocess.Popen([sys.executable, "-c", script, url], env=dict(os.environ))
        try:
            assert begun.wait(60)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            go_on.set()
    assert not fs.exists(url)
    assert fs.list_names(place) == []
    assert fs.size_of(url) is None


def test_a_part_without_its_record_is_done_again(place: str, store_server: FaultyStore) -> None:
    output = OutputFolder(place, "numbers")
    writer = output.begin({"a": 1})
    refuse_records = first("refused", 10**6, "PUT", within="/commits/")
    with store_server.failing(refuse_records), pytest.raises(StoreError, match=r"commits/part-00000\.json"):
        writer.commit("part-00000.parquet", Part(b"x", 1, 0))
    assert output.committed(writer) == {}
    writer.commit("part-00000.parquet", Part(b"x", 1, 0))
    assert list(output.committed(writer)) == ["part-00000.parquet"]


def test_names_that_a_driver_takes_for_patterns_are_refused() -> None:
    for name in ("runs*", "run?", "run[1]"):
        with pytest.raises(OutputError, match=r"holds one of \* \? \["):
            OutputFolder(f"s3://bucket/{name}", "numbers").check_usable()
