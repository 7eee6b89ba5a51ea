"""Where an output stands, by the files that jobs write."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from st_ray.core.errors import InputError, ShardError
from st_ray.store import fs
from st_ray.store.journal import StagePlan, note_error, note_stage, read_errors
from st_ray.store.lock import STALE_SECONDS
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part, Writer, part_name
from st_ray.store.status import Status, status_of

LINEAGE = {"input": "abc", "model": "123"}
ROWS = (10, 10, 10, 4)


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output of either kind."""
    if request.param == "local":
        return str(tmp_path / "out")
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}/out"


def begun(folder: str, rows: Sequence[int] = ROWS, label: str = "encode") -> Writer:
    """An output that a stage has come to."""
    writer = OutputFolder(folder, "embeddings").begin(LINEAGE)
    note_stage(folder, StagePlan(label, "rows", tuple(rows), ".parquet", time.time() - 1))
    return writer


def commit(writer: Writer, number: int, rows: int, shards: int = len(ROWS), seconds: float = 1.0) -> None:
    part = Part(b"rows", rows, 0, dropped={"empty": number} if number else {})
    writer.publish(part_name(number, shards), part, {"encode": seconds})


def done(status: Status) -> tuple[str, int | None, int, int | None, int]:
    stage = status.stage
    assert stage is not None
    return status.state, stage.shards, stage.shards_done, stage.rows, stage.rows_done


def test_an_output_from_its_beginning_to_its_end(folder: str) -> None:
    output = OutputFolder(folder, "embeddings")
    with output.lock():
        early = status_of(folder)
        assert (early.state, early.kind, early.stage) == ("running", None, None)
        writer = begun(folder)
        assert done(status_of(folder)) == ("running", 4, 0, 34, 0)
        commit(writer, 1, 9, seconds=7.0)  # one row was left out: what counts is what the plan says
        commit(writer, 3, 4)
        now = status_of(folder)
        assert done(now) == ("running", 4, 2, 34, 14)
        assert now.owner is not None and now.owner.alive and now.owner.since is not None
        stage = now.stage
        assert stage is not None and stage.slowest is not None and now.kind == "embeddings"
        assert stage.missing == ("part-00000.parquet", "part-00002.parquet")
        assert (stage.label, stage.dropped, stage.slowest.name) == ("encode", {"empty": 4}, "part-00001.parquet")
        assert stage.slowest.took["encode"] == 7.0
        assert stage.pace.overall is not None and stage.seconds_left is not None
        assert stage.seconds_left == pytest.approx(20 / (stage.pace.recent or stage.pace.overall))
    assert done(status_of(folder)) == ("stopped", 4, 2, 34, 14)
    with output.lock():
        for number in (0, 2):
            commit(writer, number, 10)
        entries = tuple(output.committed(writer).values())
        output.finish(Manifest("embeddings", LINEAGE, entries, run={"seconds": 100.0}))
    end = status_of(folder)
    assert done(end) == ("finished", 4, 4, 33, 33)
    assert end.manifest is not None and end.stage is not None and end.stage.complete
    assert end.stage.pace.overall == pytest.approx(0.33)  # of the last run, which the manifest tells of
    assert not fs.exists(fs.join(folder, "staging"))


def test_a_killed_driver_has_died(tmp_path: Path) -> None:
    script = (
        "import os, sys; from st_ray.store.output import OutputFolder; output = OutputFolder(sys.argv[1], 'numbers'); "
        "held = output.lock(); held.__enter__(); output.begin({}); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    found = status_of(str(tmp_path))
    assert (found.state, found.kind) == ("died", "numbers")
    assert found.owner is not None and found.owner.alive is False


@pytest.mark.parametrize(
    ("beat", "state"), [(0.0, "running"), (-STALE_SECONDS - 5, "died"), (None, "running")], ids=str
)
def test_another_machine_lives_while_its_heart_beats(beat: float | None, state: str, tmp_path: Path) -> None:
    begun(str(tmp_path))
    held = {"token": "t", "beat": 3, "host": "elsewhere", "pid": 1, "boot": "x"}
    times = {} if beat is None else {"since": time.time() - 100, "at": time.time() + beat}
    (tmp_path / "lock.json").write_text(json.dumps({**held, **times}))
    assert status_of(str(tmp_path)).state == state


def test_errors_are_kept_until_the_output_is_finished(folder: str) -> None:
    output = OutputFolder(folder, "embeddings")
    with pytest.raises(ShardError), output.lock():
        writer = begun(folder)
        note_error(folder, ShardError("row 7 is not finite", "use float32"), "part-00001.parquet")
        raise ShardError("1 of 4 shards are not done", "run the same command again")
    with pytest.raises(ZeroDivisionError), output.lock():
        print(1 / 0)
    errors = status_of(folder).errors
    assert [(error.shard, error.message, error.remedy) for error in errors] == [
        ("part-00001.parquet", "row 7 is not finite", "use float32"),
        ("", "1 of 4 shards are not done", "run the same command again"),
        ("", "ZeroDivisionError: division by zero", ""),
    ]
    with output.lock():
        output.finish(Manifest("embeddings", LINEAGE, tuple(output.committed(writer).values())))
    assert status_of(folder).errors == ()
    # What a command that asks for something else does to a finished output is not the output's fault.
    with pytest.raises(ShardError), output.lock():
        raise ShardError("other settings")
    assert read_errors(folder) == ()


def test_only_the_last_errors_are_kept(tmp_path: Path) -> None:
    for number in range(30):
        note_error(str(tmp_path), ShardError(f"{number} {'long ' * 1000}"))
    errors = read_errors(str(tmp_path))
    assert [error.message.split()[0] for error in errors] == [str(number) for number in range(10, 30)]
    assert (tmp_path / "staging" / "errors.json").stat().st_size < 60_000


def test_nothing_is_noted_where_nothing_was_begun(tmp_path: Path) -> None:
    output = OutputFolder(str(tmp_path / "out"), "embeddings")
    with pytest.raises(ShardError), output.lock():
        output.begin(LINEAGE)
        output.clear()
        raise ShardError("bad flags")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_stage_within_a_job_that_is_under_way(folder: str) -> None:
    """Stages have outputs of their own within the job's."""
    begun(folder, label="fuse")
    split = begun(fs.join(folder, "staging", "split"), [5, 5], label="split")
    texts = fs.join(folder, "texts", "queries")
    note_stage(texts, StagePlan("texts", "texts", (3,), ".arrow", time.time() - 50))
    note_error(texts, ShardError("early"))
    for number in range(2):
        commit(split, number, 5, shards=2)
    now = status_of(folder)
    assert done(now) == ("stopped", 4, 0, 34, 0)
    assert now.stage is not None and now.stage.label == "fuse"
    others = [(other.label, other.folder, other.shards_done, other.shards) for other in now.others]
    assert others == [("texts", "texts/queries", 0, 1), ("split", "staging/split", 2, 2)]
    assert [error.message for error in now.errors] == ["early"]


def test_a_training_is_as_far_as_its_last_checkpoint(folder: str) -> None:
    OutputFolder(folder, "trained model").begin(LINEAGE)
    note_stage(folder, StagePlan("train", "steps", (200,), None, 1000.0))
    assert done(status_of(folder)) == ("stopped", None, 0, 200, 0)
    checkpoints = fs.join(folder, "staging", "checkpoints")
    for name, steps in (("checkpoint_a", 40), ("checkpoint_b", 60)):
        history = [{"step": step, "time": 1000.0 + step / 2} for step in range(20, steps + 1, 20)]
        state = {"step": steps, "history": history}
        fs.write_atomic(fs.join(checkpoints, name, "state.json"), json.dumps(state).encode())
    fs.write_atomic(fs.join(checkpoints, "checkpoint_c", "state.json"), b'{"step": 8')  # half written
    found = status_of(folder)
    assert done(found) == ("stopped", None, 0, 200, 60)
    assert found.stage is not None
    assert (found.stage.pace.recent, found.stage.pace.overall) == (2.0, 2.0)
    assert found.stage.seconds_left == pytest.approx(70)


def test_outputs_of_which_nobody_said_how_much_they_will_be(tmp_path: Path) -> None:
    writer = OutputFolder(str(tmp_path), "retrieval metrics").begin(LINEAGE)
    commit(writer, 0, 5)
    assert done(status_of(str(tmp_path))) == ("stopped", None, 1, None, 5)


def test_what_is_no_output_is_refused(folder: str, tmp_path: Path) -> None:
    fs.write_atomic(fs.join(folder, "thesis.tex"), b"ten years of work")
    for place in (folder, fs.join(folder, "nowhere"), fs.join(folder, "thesis.tex")):
        with pytest.raises(InputError, match="holds no output of st-ray"):
            status_of(place)


def test_no_password_is_kept_with_an_error(tmp_path: Path) -> None:
    note_error(str(tmp_path), OSError("no way to http://me:secret-of-tests@proxy:80"))
    assert [error.message for error in read_errors(str(tmp_path))] == ["OSError: no way to http://***@proxy:80"]


def test_the_seconds_of_a_run() -> None:
    runs: list[dict[str, object]] = [{"seconds": 2.5}, {"seconds": {"train": 2.0, "fill": 0.5}}, {}]
    assert [Manifest("index", {}, (), run=run).seconds for run in runs] == [2.5, 2.5, None]
