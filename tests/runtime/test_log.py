"""What a job tells: text as it is, or objects, one a line, whoever writes."""

from __future__ import annotations

import json
import sys

import pytest

from st_ray.runtime.log import Log, current_log, logging_as


def told(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_text_is_told_as_it_is_and_figures_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_as(Log("encode")):
        current_log().tell("progress", "half of it", rows=5)
        current_log().tell("shard_failed", None, shard="part-00001.parquet")
        current_log().tell("done", "done: out", summary=True)
    assert capsys.readouterr() == ("done: out\n", "half of it\n")


def test_objects_have_who_when_what_and_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_as(Log("encode", as_json=True)):
        current_log().tell("progress", "half\nof it", level="warning", rows=5, loss=float("nan"), deep=[{"a": 1e999}])
    assert current_log() == Log()
    [line] = told(capsys)
    assert line.pop("ts").endswith("Z")
    assert line == {
        **{"level": "warning", "event": "progress", "job": "encode", "message": "half\nof it"},
        **{"rows": 5, "loss": None, "deep": [{"a": None}]},
    }


def test_what_others_write_becomes_objects(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    with pytest.raises(ValueError, match="odd"), logging_as(Log("encode", as_json=True)):
        print("one\ntwo", file=sys.stderr)
        sys.stderr.write("\r 10%|#   |\r 99%|### |")
        current_log().tell("progress", "between")
        sys.stderr.write("\r100%|####|\n\n")
        sys.stderr.write("no end of line")
        raise ValueError("odd")
    assert sys.stderr is before
    lines = told(capsys)
    assert [line["message"] for line in lines] == ["one", "two", "between", "100%|####|", "no end of line"]
    assert {line["event"] for line in lines} == {"stderr", "progress"}
