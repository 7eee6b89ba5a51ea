"""Records of a training, and the event files that TensorBoard reads."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.training.history import EventLog, Record

NUMBERS = st.floats(allow_nan=False, width=64)


def record(step: int, **metrics: float) -> Record:
    return Record(step, step / 4, 1 / step, 1e-3, 2.0, 99.0, 1.7e9 + step, metrics)


def events(folder: Path) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """Values and times of all event files, by name and step. The framing is that of TFRecord."""
    from tensorboardX.proto import event_pb2

    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event: Any = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found.setdefault((value.tag, event.step), []).append((value.simple_value, event.wall_time))
    return found


@given(
    numbers=st.lists(NUMBERS, min_size=6, max_size=6),
    metrics=st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3),
    step=st.integers(1, 1 << 40),
)
def test_a_record_comes_back_from_json(numbers: list[float], metrics: dict[str, float], step: int) -> None:
    made = Record(step, *numbers, metrics)
    assert Record.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize("change", [{"loss": "x"}, {"speed": 1.0}, {"metrics": 3}, {"step": None}])
def test_something_else_is_no_record(change: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Record.from_json({**record(1).to_json(), **change})


def test_events_hold_each_record(tmp_path: Path) -> None:
    with closing(EventLog(tmp_path / "logs")) as log:
        log.add(record(10, spearman=0.5))
        log.add(record(20))
    found = events(tmp_path / "logs")
    assert found["train/loss", 10] == [(pytest.approx(0.1), 1.7e9 + 10)]
    assert found["eval/spearman", 10] == [(0.5, 1.7e9 + 10)]
    names = {"loss", "learning_rate", "gradient_norm", "examples_per_second", "epoch"}
    assert set(found) == {(f"train/{name}", step) for name in names for step in (10, 20)} | {("eval/spearman", 10)}


def test_a_resumed_training_doubles_no_step(tmp_path: Path) -> None:
    with closing(EventLog(tmp_path)) as log:
        for step in (10, 20, 30, 40):
            log.add(record(step, spearman=step / 100))
    # Interrupted after step 40; the last checkpoint was of step 20.
    with closing(EventLog(tmp_path, [record(10, spearman=0.1), record(20, spearman=0.2)])) as log:
        log.add(record(30, spearman=0.9))
    found = events(tmp_path)
    assert [found["eval/spearman", step] for step in (10, 20, 30)] == [
        [(pytest.approx(0.1), 1.7e9 + 10)],
        [(pytest.approx(0.2), 1.7e9 + 20)],
        [(pytest.approx(0.9), 1.7e9 + 30)],
    ]
    assert all(len(values) == 1 for values in found.values())
    assert {step for _, step in found} == {10, 20, 30}


def test_events_can_be_seen_while_the_training_goes_on(tmp_path: Path) -> None:
    with closing(EventLog(tmp_path)) as log:
        log.add(record(10))
        log.flush()
        assert ("train/epoch", 10) in events(tmp_path)


def test_a_file_that_cannot_grow_stops_nothing_unseen(tmp_path: Path) -> None:
    """A disk that is full is an error, and nothing that waits for ever."""
    code = """
import resource, sys
from pathlib import Path
from st_ray.training.history import EventLog, Record
log = EventLog(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for step in range(1, 200):
    log.add(Record(step, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
log.flush()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "OSError" in done.stderr
