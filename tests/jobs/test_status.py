"""The status command: a screen, a line, JSON, and what it exits with."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import status
from jobs._cli import parse
from st_ray.core.errors import ConfigError, ShardError
from st_ray.runtime.status.config import StatusConfig
from st_ray.runtime.status.show import line, screen
from st_ray.store.journal import StagePlan, note_error, note_stage
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part, part_name
from st_ray.store.status import status_of
from tests.conftest import ROOT


def half_done(folder: Path) -> OutputFolder:
    """2 of 3 shards, the first of an earlier run."""
    output = OutputFolder(str(folder), "embeddings")
    writer = output.begin({"model": "m"})
    note_stage(str(folder), StagePlan("encode", "rows", (1000, 1000, 500), ".parquet", time.time() - 10))
    for number in range(2):
        part = Part(b"rows", 998, 1000 * number, dropped={"empty text": 2})
        writer.publish(part_name(number, 3), part, {"encode": 5.0 - number, "read": 0.25})
    return output


def ran(*arguments: str) -> int:
    try:
        status.run_job(StatusConfig, status._run, arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_running_job_on_a_screen(tmp_path: Path) -> None:
    output = half_done(tmp_path)
    note_error(str(tmp_path), ShardError("row 7 is\n     not finite", "use float32"), "part-00002.parquet")
    time.sleep(0.01)
    with output.lock():
        shown = screen(status_of(str(tmp_path)))
    for text in (
        "status: running\n",
        f"{tmp_path} (embeddings)",
        "process ",
        "  shards         2 of 3 (66%)\n",
        "  rows           2,000 of 2,500 (80%)\n",
        " rows/s since the last run came to this stage",
        "for the rest of this stage",
        "part-00000.parquet, 5.3 s: encode 5.0, read 0.2, write 0.0",
        "4 rows: 4 empty text",
        "error of an earlier run, 0s ago, part-00002.parquet: row 7 is\n     not finite\n    -> use float32",
    ):
        assert text in shown
    assert "next:" not in shown
    stopped = screen(status_of(str(tmp_path)))
    assert "status: stopped\n" in stopped and "missing" in stopped and "part-00002.parquet" in stopped
    assert "  error, 0s ago, part-00002.parquet: row 7" in stopped
    assert stopped.endswith("next: run the same command again; it goes on from what is committed")
    assert "ETA" not in stopped


def test_several_outputs_have_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = half_done(tmp_path / "one")
    output.finish(
        Manifest("embeddings", {"model": "m"}, tuple(output.committed(output.begin({"model": "m"})).values()))
    )
    half_done(tmp_path / "two")
    OutputFolder(str(tmp_path / "three"), "evaluation").finish(Manifest("evaluation", {}, ()))
    assert ran(*(str(tmp_path / name) for name in ("one", "two", "three"))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [shown.split("  ")[:2] for shown in lines] == [
        [str(tmp_path / "one"), "finished"],
        [str(tmp_path / "two"), "stopped"],
        [str(tmp_path / "three"), "finished"],
    ]
    assert lines[2].endswith("  finished  evaluation")
    assert "  encode  2 of 3 shards (66%)  2,000 of 2,500 rows (80%)" in lines[1]
    # One that cannot be read does not hide the others.
    assert ran(str(tmp_path / "none"), str(tmp_path / "two")) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith(str(tmp_path / "two"))
    assert captured.err.startswith(f"error: {tmp_path}/none holds no output of st-ray")
    assert ran(str(tmp_path / "none"), str(tmp_path / "nor")) == 1
    assert "none holds" in (shown := capsys.readouterr().err) and "nor holds" in shown


def test_of_versions_the_newest_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("v-20261121T020000Z", "v-20261122T020000Z"):
        OutputFolder(str(tmp_path / name), "version").begin({})
        half_done(tmp_path / name / "embeddings")
    assert ran(str(tmp_path)) == 0
    assert "v-20261122T020000Z/embeddings" in (shown := capsys.readouterr().out)
    assert "v-20261121T020000Z" not in shown
    half_done(tmp_path / "v-20261122T020000Z" / "index")
    assert ran(str(tmp_path)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = half_done(tmp_path)
    note_error(str(tmp_path), ShardError("bad", "mend it"), "part-00002.parquet")
    time.sleep(0.01)  # times are kept by the millisecond
    with output.lock():
        for flags in (["--log-format", "json"], ["--json"]):
            assert ran(str(tmp_path), *flags) == 0
            (shown,) = capsys.readouterr().out.splitlines()
            found: dict[str, Any] = json.loads(shown)
            assert found["state"] == "running"
    assert (found["state"], found["kind"], found["output"]) == ("running", "embeddings", str(tmp_path))
    stage = found["stage"]
    assert (stage["shards"], stage["shards_done"], stage["rows"], stage["rows_done"]) == (3, 2, 2500, 2000)
    assert stage["missing"] == ["part-00002.parquet"] and stage["dropped"] == {"empty text": 4}
    assert stage["slowest"]["name"] == "part-00000.parquet" and stage["slowest"]["seconds"] > 5
    assert found["eta_seconds"] > 0 and found["owner"]["alive"] is True
    (error,) = found["errors"]
    assert (error["message"], error["remedy"], error["earlier"]) == ("bad", "mend it", True)


def test_watching_ends_when_nobody_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half_done(tmp_path)
    assert ran(str(tmp_path), "--watch", "60", "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "no output is named"), (["a", "--watch", "0"], "--watch 0 is no time")]
)
def test_bad_flags(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(*arguments) == 2
    assert message in capsys.readouterr().err.lower()


def test_outputs_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "watch.yaml"
    path.write_text("outputs: [a, b]\njson: true\n")
    config = parse(StatusConfig, ["--config", str(path)])
    assert (config.outputs, config.json) == (("a", "b"), True)
    with pytest.raises(ConfigError, match="no flag is called 'output'"):
        path.write_text("output: a\n")
        parse(StatusConfig, ["--config", str(path)])


def test_a_line_tells_the_last_error(tmp_path: Path) -> None:
    half_done(tmp_path)
    note_error(str(tmp_path), ShardError("one\ntwo"))
    assert line(status_of(str(tmp_path))).endswith("  last error: one")


def test_neither_ray_nor_torch_is_loaded(tmp_path: Path) -> None:
    half_done(tmp_path)
    script = (
        "import sys; from jobs.status import main; sys.argv = ['status', sys.argv[1]]; main(); "
        "assert not {'ray', 'torch', 'pandas'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("status: stopped")
