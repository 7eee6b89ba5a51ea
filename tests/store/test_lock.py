"""Who writes an output, on a store that stalls, that is busy, and that only some can reach."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from st_ray.core.errors import OutputError, StoreError
from st_ray.store import fs, lock
from st_ray.store.lock import OutputLock
from tests.faulty_store import FaultyStore, first


@pytest.fixture
def url(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("botocore.retryhandler.random", SimpleNamespace(random=lambda: 0.001))
    return f"{s3}/{tmp_path.name}/lock.json"


@pytest.fixture
def held(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OutputLock]:
    """A lock on `url`, of a job on another machine as it seems."""
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock, "_AGAIN_SECONDS", 0.1)
    content = OutputLock._content

    def of_another(self: OutputLock, beat: int) -> bytes:
        return content(self, beat).replace(b'"boot": "', b'"boot": "another ')

    monkeypatch.setattr(OutputLock, "_content", of_another)
    with OutputLock(url) as held:
        yield held


def test_a_store_that_stalls_costs_nobody_the_lock(
    held: OutputLock, url: str, store_server: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 2.0)
    answering = threading.Event()

    def stall(method: str, path: str) -> str:
        answering.wait(30)
        return ""

    seen = lock._read(url)
    assert seen is not None
    with store_server.failing(stall):
        threading.Timer(2.5, answering.set).start()
        assert not lock._is_stale(url, seen)
    held.require_held("out")


def test_beats_wait_for_no_other_request(held: OutputLock, url: str, store_server: FaultyStore) -> None:
    answering = threading.Event()

    def hold(method: str, path: str) -> str:
        if "/large-" in path:
            answering.wait(30)
        return ""

    names = [url.replace("lock.json", f"large-{number}") for number in range(12)]
    readers = [threading.Thread(target=fs.is_file, args=(name,)) for name in names]
    with store_server.failing(hold):
        for reader in readers:
            reader.start()
        try:
            time.sleep(0.5)
            beats = {beat_of(url)}
            deadline = time.monotonic() + 10
            while len(beats) < 3 and time.monotonic() < deadline:
                time.sleep(0.1)
                beats.add(beat_of(url))
        finally:
            answering.set()
            for reader in readers:
                reader.join()
    assert len(beats) == 3


def beat_of(url: str) -> int:
    seen = lock._read(url, brief=True)
    assert seen is not None
    return int(seen["beat"])


def test_who_was_cut_off_asks_before_going_on(
    held: OutputLock, url: str, store_server: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.5)
    with store_server.failing(first("refused", 10**6, within="lock.json")) as met:
        time.sleep(1.0)
        assert met["refused"] >= 3
        with pytest.raises(StoreError, match=url):
            held.require_held("out")
    held.require_held("out")
    assert not held.lost


@pytest.mark.parametrize("after", ["another's", "none"])
def test_a_lock_that_was_taken_meanwhile(
    after: str, held: OutputLock, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a job that works, or that has ended."""
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.1)
    held._stop.set()
    assert held._thread is not None
    held._thread.join()
    if after == "none":
        fs.remove(url)
    else:
        fs.write_atomic(url, b'{"token": "somebody else"}')
    time.sleep(0.2)
    with pytest.raises(OutputError, match="another job took over out"):
        held.require_held("out")


def test_a_lock_that_a_store_kept_does_not_bar_the_next_job_of_its_process(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, OutputLock(url):
        patch.setattr(lock, "STALE_SECONDS", 0.1)
        time.sleep(0.2)
    assert fs.is_file(url)  # nobody had seen it for long: it was left to itself
    with OutputLock(url), pytest.raises(OutputError, match="another job is writing here"), OutputLock(url):
        pass
    assert not fs.is_file(url)
