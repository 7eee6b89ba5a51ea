"""Flags, YAML, errors and exit status."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs._cli import parse, run_job
from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.encode.config import EncodeConfig

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


def test_help_explains_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(EncodeConfig, ["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in ("--shard-rows INT", "(default: 50000)", "--check-ids", "hashed to 16 bytes", "--output STR", "s3://"):
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
