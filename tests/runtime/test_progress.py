"""Progress lines, with and without a terminal."""

from __future__ import annotations

import io
import time

import pytest

from st_ray.core.summary import human_bytes, human_seconds, render_summary
from st_ray.runtime import progress
from st_ray.runtime.log import Line
from st_ray.runtime.progress import Progress, Snapshot, progress_line


def test_a_line_has_rates_and_the_time_left() -> None:
    line = progress_line("encode", Snapshot(rows=25_000, tokens=500_000, shards=5, seconds=50), 100_000, 20)
    assert line.text == "encode  25,000/100,000 rows (25%)  500 rows/s  10,000 tokens/s  5/20 shards  ETA 2m30s"
    assert line.figures == {
        **{"stage": "encode", "noun": "rows", "rows": 25_000, "rows_total": 100_000, "shards": 5, "shards_total": 20},
        **{"rate": 500.0, "tokens_per_second": 10_000.0, "eta_seconds": 150.0},
    }


def test_nothing_done_yet() -> None:
    line = progress_line("encode", Snapshot(0, 0, 0, 0), 10, 2)
    assert line.text == "encode  0/10 rows (0%)  starting  0/2 shards"
    assert "rate" not in line.figures


def test_without_a_terminal_lines_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.05)
    stream = io.StringIO()
    with Progress(lambda: Line("encode  10/10 rows (100%)"), stream):
        time.sleep(0.2)
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("encode  10/10 rows (100%)") and "\r" not in line for line in lines)


@pytest.mark.parametrize(("seconds", "text"), [(3, "3s"), (61, "1m01s"), (7260, "2h01m"), (90_000, "1d01h")])
def test_times(seconds: int, text: str) -> None:
    assert human_seconds(seconds) == text


def test_sizes_and_summary() -> None:
    assert [human_bytes(n) for n in (5, 2048, 3 << 40)] == ["5 B", "2.0 KiB", "3.0 TiB"]
    assert render_summary("done", {"a": "1", "bb": "2"}) == "done\n  a   1\n  bb  2"
