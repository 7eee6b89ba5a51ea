"""Flags, YAML, errors and exit status."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import jobs
from jobs._cli import parse, pin_versions, run_job, tell_result
from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.config import LogConfig
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.result import JobResult
from st_ray.runtime.search.config import SearchConfig
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.versions import Versions, read_pointer

REQUIRED = ["--input", "a", "b", "--model", "m", "--output", "o"]


def test_flags_become_a_config() -> None:
    config = parse(EncodeConfig, [*REQUIRED, "--text-columns", "title, text", "--keep-text", "--shard-rows", "7"])
    assert isinstance(config, EncodeConfig)
    assert config.input == ("a", "b")
    assert config.text_columns == ("title", "text")
    assert (config.keep_text, config.shard_rows, config.batch_tokens) == (True, 7, None)


def test_yaml_has_the_same_keys_and_flags_win(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        "input: [x, y]\nmodel: m\noutput: o\ntext-columns: [t, u]\nkeep_text: true\nshard_rows: 5\nprompt: null\n"
    )
    config = parse(EncodeConfig, ["--config", str(path), "--shard-rows", "9", "--no-keep-text"])
    assert (config.input, config.text_columns, config.shard_rows, config.keep_text) == (
        ("x", "y"),
        ("t", "u"),
        9,
        False,
    )
    assert parse(EncodeConfig, [f"--config={path}", "--input", "z"]).input == ("z",)


@pytest.mark.parametrize(
    ("content", "message"),
    [("shard_row: 5\n", "no flag is called 'shard_row'"), ("- a\n", "not a mapping"), ("a: [\n", "--config")],
)
def test_bad_yaml(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        parse(EncodeConfig, ["--config", str(path)])


def test_a_missing_yaml_is_named() -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        parse(EncodeConfig, ["--config", "none.yaml"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--shard-rows", "0"], "--shard-rows 0 must be 1 or more"),
        (["--shard-rows", "many"], "--shard-rows"),
        (["--dtype", "int4"], "bfloat16"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--prompt", "a", "--prompt-name", "b"], "both given"),
    ],
)
def test_bad_flags_exit_with_one_message(extra: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_job(EncodeConfig, lambda config: "", [*REQUIRED, *extra])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_help_explains_every_flag_with_its_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs._cli._module_name", lambda: "jobs.encode")
    with pytest.raises(SystemExit) as ended:
        parse(EncodeConfig, ["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in (
        "--shard-rows INT",
        "(default: 50000)",
        "--check-ids",
        "hashed to 16 bytes",
        "--output STR",
        "s3://",
        "docs/jobs/encode.md",
    ):
        assert text in shown


@dataclass(frozen=True)
class _Tiny:
    """A job."""

    output: str = "out"
    """Place."""

    debug: bool = False
    """Tracebacks."""


def _fail(error: BaseException):
    def job(config: _Tiny) -> str:
        raise error

    return job


def test_success_ends_with_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    run_job(_Tiny, lambda config: config.output, ["--output", "there"])
    assert capsys.readouterr().out == "done: there\n"


@pytest.mark.parametrize("error", [InputError("file x is bad", "mend it"), ValueError("odd")])
def test_failures_are_one_message(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_job(_Tiny, _fail(error), [])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert "done:" not in captured.out


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_job(_Tiny, _fail(ValueError("odd")), ["--debug"])
    assert "Traceback" in capsys.readouterr().err


JSON = ["--log-format", "json"]


def told(text: str) -> list[dict[str, Any]]:
    """Each line is an object; what they share is checked and left out."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert datetime.fromisoformat(line.pop("ts").replace("Z", "+00:00")).tzinfo is not None
    return lines


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([*JSON, "--shard-rows", "0"], "--shard-rows 0 must be 1 or more"),
        (["--log-format=json", "--shard-rows", "many"], "--shard-rows"),
        ([*JSON, "--no-such-flag"], "--no-such-flag"),
        ([*JSON, "--config", "none.yaml"], "none.yaml"),
    ],
)
def test_a_wrong_flag_is_one_object(extra: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_job(EncodeConfig, lambda config: "", [*REQUIRED, *extra])
    captured = capsys.readouterr()
    [line] = told(captured.err)
    assert message in line["message"]
    assert not set("│╭─") & set(line["message"])
    assert (line["level"], line["event"], line["job"], line["status"]) == ("error", "error", "encode", 2)
    assert (ended.value.code, captured.out) == (2, "")


@pytest.mark.parametrize("debug", [False, True])
def test_failures_are_one_object(debug: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def job(config: EncodeConfig) -> str:
        print("a library has something to say", file=sys.stderr)
        raise InputError("file x is bad", "mend it")

    with pytest.raises(SystemExit) as ended:
        run_job(EncodeConfig, job, [*REQUIRED, *JSON, *(["--debug"] if debug else [])])
    assert ended.value.code == 1
    stray, line = told(capsys.readouterr().err)
    assert (stray["event"], stray["message"]) == ("stderr", "a library has something to say")
    assert ("Traceback" in line.pop("traceback", "")) is debug
    assert line == {
        **{"level": "error", "event": "error", "job": "encode", "message": "file x is bad", "remedy": "mend it"},
        **{"error": "InputError", "status": 1},
    }


def test_a_result_is_told_in_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    entry = ShardEntry("part-00000.parquet", 5, 0, 90, "", {"empty": 2})
    result = JobResult(Manifest("embeddings", {}, (entry,), run={"seconds": 1.5}), "there")
    path = tmp_path / "job.yaml"
    path.write_text("log-format: json\n")
    for flags in (["--config", str(path)], JSON):
        run_job(EncodeConfig, lambda config: tell_result(result, "encode: complete\n  rows  5"), [*REQUIRED, *flags])
        captured = capsys.readouterr()
        assert captured.err == ""
        summary, done = told(captured.out)
        assert (summary["event"], summary["message"], summary["output"]) == ("summary", "encode: complete", "there")
        assert summary["totals"] == {"shards": 1, "rows": 5, "bytes": 90}
        assert (summary["dropped"], summary["run"]) == ({"empty": 2}, {"seconds": 1.5})
        assert (done["event"], done["output"], done["status"]) == ("done", "there", 0)
    run_job(EncodeConfig, lambda config: tell_result(result, "encode: complete\n  rows  5"), REQUIRED)
    assert capsys.readouterr() == ("encode: complete\n  rows  5\ndone: there\n", "")


def test_every_job_but_the_demo_has_the_flag() -> None:
    names = {module.name for module in pkgutil.iter_modules(jobs.__path__)}
    modules = [importlib.import_module(f"jobs.{name}") for name in names - {"quickstart"} if not name.startswith("_")]
    assert len(modules) == len(names) - 3
    for module in modules:
        [config] = [value for name, value in vars(module).items() if name.endswith("Config")]
        assert issubclass(config, LogConfig), config
        # jobs.status makes nothing, so there is no result to tell of.
        assert module.__name__ == "jobs.status" or module.tell_result is tell_result


def test_a_job_reads_one_version_however_often_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions, read = Versions(str(tmp_path)), []

    def moving(url: str) -> str | None:
        """The pointer moves whenever it is read."""
        read.append(url)
        versions.publish(f"v-2026112{len(read)}T080906Z")
        return read_pointer(url)

    monkeypatch.setattr("jobs._cli.read_pointer", moving)
    latest, other = f"{tmp_path}/latest", f"{tmp_path}/latest.jsonl"
    arguments = ["--index", f"{latest}/index", "--embeddings", f"{latest}/embeddings", "--output", f"{latest}/hits"]
    arguments += ["--queries", f"{latest}/embeddings", other, "--text-columns", "a,b"]
    config = pin_versions(parse(SearchConfig, arguments))
    one = f"{tmp_path}/v-20261121T080906Z"
    assert (config.index, config.embeddings) == (f"{one}/index", f"{one}/embeddings")
    assert config.queries == (f"{one}/embeddings", other)
    assert (config.output, config.text_columns) == (f"{latest}/hits", ("a", "b"))
