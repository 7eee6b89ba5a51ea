"""What is said of a stage that does not get on, and when."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import ray

from st_ray.runtime import at_work, stragglers
from st_ray.runtime.at_work import AtWork, processes
from st_ray.runtime.stragglers import Watch, patience, warning


class Commits:
    def __init__(self) -> None:
        self.committed = 0

    def seconds(self) -> list[float]:
        return [0.1] * self.committed


def proc_with(folder: Path, process: int, title: str, state: str = "S") -> None:
    (folder / str(process)).mkdir()
    (folder / str(process) / "cmdline").write_bytes(title.encode() + b"\0 \0")
    (folder / str(process) / "stat").write_text(f"{process} (a name) with spaces) {state} 1 2 3")


def test_processes_that_work_on_the_output_are_found(tmp_path: Path) -> None:
    now = time.time()
    place = "/a folder/out since then"
    for number, (step, part, output) in enumerate(
        [
            ("encode", "part-00012.parquet", place),
            ("read and tokenize", "part-00013.parquet", place),
            ("encode", "part-00012.parquet", "/a folder/out"),
        ]
    ):
        proc_with(tmp_path, 100 + number, at_work._title(step, part, output, now - 61), "TSR"[number])
    proc_with(tmp_path, 200, "python -m jobs.encode --output /a folder/out since then")
    proc_with(tmp_path, 201, "ray::IDLE")
    proc_with(tmp_path, 203, "ray::Holder", "T")
    proc_with(tmp_path, 204, "sleep 60", "T")
    (tmp_path / "202").mkdir()  # it has just ended
    found = sorted(processes(place, str(tmp_path)), key=lambda one: one.process)
    assert [(one.process, one.part, one.step, one.state) for one in found] == [
        (100, "part-00012.parquet", "encode", "is stopped (SIGSTOP)"),
        (101, "part-00013.parquet", "read and tokenize", ""),
        (203, "", "ray::Holder", "is stopped (SIGSTOP)"),
    ]
    assert all(60 <= one.seconds <= 70 for one in found[:2])
    assert str(found[2]).startswith("ray::Holder, in process 203 on ")
    assert processes(place, str(tmp_path / "none")) == []


def test_what_holds_others_up_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    long, longer, waits, idle = (
        AtWork("host", process, part, step, seconds, state)
        for process, (part, step, seconds, state) in enumerate(
            [
                ("part-1", "search", 60.0, ""),
                ("part-2", "search", 90.0, ""),
                ("part-1", at_work.WAIT, 95.0, ""),
                ("", "ray::Holder", 0.0, "is stopped (SIGSTOP)"),
            ]
        )
    )
    monkeypatch.setattr(at_work, "_ask_machines", lambda output: [long, waits, longer, idle])
    found = at_work.at_work("/out")
    assert found == [idle, longer, long, waits]
    lines = warning("search", 90.0, [], found, str)
    assert lines[1] == "  ray::Holder, in process 3 on host, which is stopped (SIGSTOP)"
    assert "`kill -9 3`" in lines[-1]
    alone = warning("search", 90.0, [], [waits], str)
    assert "kill" not in alone[-1] and "does not answer" in alone[-1]


def test_patience_grows_with_the_shards() -> None:
    assert patience([], begun=False) == stragglers.FIRST_SECONDS
    assert patience([1.0, 2.0, 3.0], begun=False) == stragglers.FIRST_SECONDS
    assert patience([1.0, 2.0, 3.0], begun=True) == stragglers.LEAST_SECONDS
    assert patience([100.0, 200.0, 90_000.0], begun=True) == 2000.0


def test_the_warning_names_shards_processes_and_a_remedy() -> None:
    found = [AtWork("host-7", 4711, "part-00012.parquet", "encode", 725.0, "is stopped (SIGSTOP)")]
    lines = warning("encode", 720.0, [3.0], found, lambda part: f"rows of {part}")
    assert lines == [
        "encode: no shard was committed for 12m00s (one takes 3s); worked on are",
        "  part-00012.parquet (rows of part-00012.parquet): encode for 12m05s, in process 4711 on host-7, which is "
        "stopped (SIGSTOP)",
        "  -> a process that hangs can be killed there (`kill -9 4711`), its work is done again; or stop the job, and "
        "run the same command again",
    ]
    many = warning("encode", 720.0, [], found * 8, str)
    assert len(many) == 1 + 5 + 1 + 1 and many[-2] == "  and 3 more"
    (nobody,) = warning("encode", 720.0, [], [], str)
    assert "`ray status`" in nobody


def test_it_is_said_once_and_then_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stragglers, "_TICK_SECONDS", 0.01)
    monkeypatch.setattr(stragglers, "LEAST_SECONDS", 0.3)
    monkeypatch.setattr(stragglers, "FIRST_SECONDS", 0.3)
    monkeypatch.setattr(stragglers, "TIMES", 0.1)
    asked: list[float] = []
    monkeypatch.setattr(stragglers, "at_work", lambda output: asked.append(time.monotonic()) or [])
    commits = Commits()
    with Watch("encode", "/out", commits, str):
        for _ in range(5):
            time.sleep(0.1)
            commits.committed += 1
        assert not asked
        time.sleep(1.6)
    assert 2 <= len(asked) <= 3
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("encode: no shard was committed for") for line in said] == [True] * len(asked)


def test_a_title_tells_of_several_threads_what_began_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ["ray::MapWorker"]
    monkeypatch.setattr(ray._raylet, "getproctitle", lambda: shown[-1])
    monkeypatch.setattr(ray._raylet, "setproctitle", shown.append)
    first, second = threading.Event(), threading.Event()

    def encode() -> None:
        with at_work.titled("encode", "part-1", "/out"):
            first.set()
            second.wait(10)

    thread = threading.Thread(target=encode)
    thread.start()
    first.wait(10)
    with at_work.titled("read", "part-2", "/out"), at_work.asking() as place:
        assert place == ("part-2", "/out")
        assert "encode part-1 " in shown[-1]
        second.set()
        thread.join()
        assert f"{at_work.WAIT} part-2 " in shown[-1]
    assert shown[-1] == "ray::MapWorker"
    with at_work.asking() as place:
        assert place is None
    assert not at_work._titles
