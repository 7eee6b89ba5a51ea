"""The flags of the job that scores pairs: what is refused before anything is read."""

from __future__ import annotations

import pytest

from jobs._cli import parse
from st_ray.core.errors import ConfigError
from st_ray.runtime.score_pairs.config import ScorePairsConfig

NEEDED = ["--cross-encoder", "m", "--output", "o"]


def test_flags_become_a_config() -> None:
    flags = [
        "--data",
        "x.csv",
        "y/",
        "--text-columns",
        "a,b,c",
        "--columns",
        "c,b,a",
        "--no-quotes",
        "--id-column",
        "i",
    ]
    config = parse(ScorePairsConfig, [*NEEDED, *flags, "--activation", "identity", "--on-bad-row", "skip"])
    assert (config.data, config.text_columns, config.columns) == (("x.csv", "y/"), ("a", "b", "c"), ("c", "b", "a"))
    assert (config.quotes, config.id_column, config.activation) == (False, "i", "identity")
    assert (config.on_bad_row, config.shard_rows, config.seed) == ("skip", None, 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--data",), "--data names no file"),
        (("--data", "x", "--shard-rows", "0"), "--shard-rows 0 must be 1 or more"),
        (("--data", "x", "--batch-tokens", "0"), "--batch-tokens 0 must be 1 or more"),
        (("--data", "x", "--min-correlation", "2"), "--min-correlation 2"),
        (("--data", "x", "--prompt", "a", "--prompt-name", "b"), "--prompt and --prompt-name were both given"),
    ],
)
def test_flags_that_make_no_sense(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(ScorePairsConfig, [*NEEDED, *flags])


def test_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(ScorePairsConfig, ["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in (
        "--cross-encoder STR",
        "lists of documents",
        "--text-columns A,B",
        "--min-correlation",
        "--shard-rows",
    ):
        assert text in shown


def test_the_data_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(ScorePairsConfig, NEEDED)
    assert "--data" in capsys.readouterr().err
