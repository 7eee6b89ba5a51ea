"""What a page tells of the shards of a job's stages; it grows neither with them nor with their rows."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from st_ray.core.chart import Columns, bar_chart, column_chart
from st_ray.core.page import Section
from st_ray.core.summary import human_bytes, human_seconds
from st_ray.runtime.report.runs import Run, runs_of

if TYPE_CHECKING:
    from st_ray.runtime.stage_result import StageResult
    from st_ray.store.manifest import ShardEntry

_RUNS = 8
"""That are shown, the latest ones."""
_SLOWEST = 5
_FEW = 5
"""Shards, below which their distribution is a table alone."""
_FIGURES: dict[str, Callable[[Sequence[float]], Any]] = {
    "least": min,
    "median": np.median,
    "mean": np.mean,
    "most": max,
}


def stage_sections(stages: Sequence[StageResult]) -> Iterator[Section]:
    """Of the stages of a job, in order: throughput and shards of the one that took most work, steps of all."""
    stages = [stage for stage in stages if stage.commits]
    if not stages:
        return
    main = max(stages, key=lambda stage: sum(_work(stage)))
    several = f": {main.label}" if len(stages) > 1 else ""
    if len(stages) > 1:
        yield _stages(stages)
    runs = runs_of(main)
    if runs:
        yield _throughput(f"Throughput{several}", main.noun, runs)
    yield from _steps(stages)
    yield from _padding(stages)
    yield from _shards(main, several)


def seconds_text(seconds: float) -> str:
    """`0.04 s`, `42s`, `3m05s`."""
    return f"{seconds:.2f} s" if seconds < 10 else human_seconds(seconds)


def time_bars(seconds: Mapping[str, float]) -> bytes:
    """Bars of seconds by name, with their shares."""
    total = sum(seconds.values()) or 1.0
    return bar_chart([(name, count, f"{seconds_text(count)}, {count / total:.0%}") for name, count in seconds.items()])


def _stages(stages: Sequence[StageResult]) -> Section:
    rows: list[tuple[str, ...]] = [("stage", "shards", "of", "work")]
    for stage in stages:
        before = f", {stage.done_before:,} before" if stage.done_before else ""
        size = f"{sum(stage.sizes):,} {stage.noun}"
        rows.append((stage.label, f"{len(stage.commits):,}{before}", size, seconds_text(sum(_work(stage)))))
    return Section("Stages", "In order, with the seconds of work of all workers together.", rows)


def _throughput(title: str, noun: str, runs: Sequence[Run]) -> Section:
    first = max(0, len(runs) - _RUNS)
    shown = list(enumerate(runs, 1))[first:]
    drawn = [(number, run) for number, run in shown if len(run.rates)]
    charts = [Columns(run.rates, _below(run, number if len(runs) > 1 else 0), run.seconds) for number, run in drawn]
    text = f"{noun.capitalize()} a second, a shard's spread evenly over the time that it was in work."
    if len(runs) > 1:
        text += " A run that was cut short and those that went on stand apart."
    if first:
        text += f" The last {_RUNS} of {len(runs)} runs are shown."
    rows = [("run", "began (UTC)", "took", "shards", f"{noun}/s")]
    for number, run in shown:
        rate = _rate_text(run.rows / run.seconds) if run.seconds > 0 else "–"
        took = _unbroken(seconds_text(run.seconds))
        rows.append((f"{number}", _moment(run.began), took, f"{run.shards:,}", rate))
    return Section(title, text, rows, column_chart(charts) if charts else b"")


def _below(run: Run, number: int) -> list[tuple[float, str]]:
    """What stands below a run: its number, or if it is the only one, its time."""
    return [(0.5, f"{number}")] if number else [(0.0, "0"), (1.0, seconds_text(run.seconds))]


def _steps(stages: Sequence[StageResult]) -> Iterator[Section]:
    seconds: dict[str, float] = {}
    for stage in stages:
        for commit in stage.commits:
            for step, count in commit.took.items():
                name = f"{stage.label}: {step}" if len(stages) > 1 else step
                seconds[name] = seconds.get(name, 0.0) + count
    if seconds:
        text = "Seconds that workers spent on shards, added up; several worked at once. Waiting is not in them."
        yield Section("Work by step", text, picture=time_bars(seconds))


def _padding(stages: Sequence[StageResult]) -> Iterator[Section]:
    """How much of what a model computed was padding."""
    entries = [commit.entry for stage in stages for commit in stage.commits if commit.entry.figures.get("places")]
    if not entries:
        return
    tokens, places = (sum(entry.figures[name] for entry in entries) for name in ("tokens", "places"))
    padding = max(0.0, places - tokens)
    worst = max(entries, key=_waste)
    text = f"{padding / places:.1%} of what the model computed was padding, which makes texts of a batch equally long"
    text += f"; of a shard up to {_waste(worst):.1%} ({worst.name})." if len(entries) > 1 else "."
    bars = [("tokens", tokens), ("padding", padding)]
    picture = bar_chart([(name, count, f"{count:,.0f}, {count / places:.1%}") for name, count in bars])
    yield Section("Padding", text, picture=picture)


def _waste(entry: ShardEntry) -> float:
    return max(0.0, 1 - entry.figures["tokens"] / entry.figures["places"])


def _shards(stage: StageResult, several: str) -> Iterator[Section]:
    """How large shards were, and how long they took."""
    work = _work(stage)
    quantities: dict[str, tuple[Sequence[float], Callable[[float], str]]] = {
        stage.noun: (stage.sizes, lambda value: f"{value:,.0f}"),
        "bytes": ([commit.entry.bytes for commit in stage.commits], human_bytes),
        "work": (work, seconds_text),
    }
    rows: list[tuple[str, ...]] = [("", *quantities)]
    for name, figure in _FIGURES.items():
        rows.append((name, *(_unbroken(text(float(figure(values)))) for values, text in quantities.values())))
    text = f"{len(work):,} in all: input, size of the part, seconds of all steps together."
    yield Section(f"Shards{several}", text, rows)
    for name, (values, text_of) in quantities.items():
        # Where only the last shard is smaller, there is nothing to see.
        if len(values) >= _FEW and len(set(values)) > 2:
            slowest = _slowest(stage, work) if values is work else []
            title = f"{name.capitalize()} of a shard{several}"
            yield Section(title, "How many shards have how much.", slowest, _histogram(values, text_of))


def _slowest(stage: StageResult, work: Sequence[float]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("slowest", stage.noun, "work", "most of it")]
    for number in np.argsort(work)[: -_SLOWEST - 1 : -1].tolist():
        commit = stage.commits[number]
        step = max(commit.took.items(), key=lambda item: item[1], default=("",))[0]
        took = _unbroken(seconds_text(work[number]))
        rows.append((commit.entry.name, f"{stage.sizes[number]:,}", took, step))
    return rows


def _histogram(values: Sequence[float], text: Callable[[float], str]) -> bytes:
    counts, edges = np.histogram(np.asarray(values, np.float64), bins=int(np.clip(len(values) ** 0.5, 5, 30)))
    middle = (edges[0] + edges[-1]) / 2
    labels = [(0.0, text(edges[0])), (0.5, text(middle)), (1.0, text(edges[-1]))]
    return column_chart([Columns(counts, labels)])


def _work(stage: StageResult) -> list[float]:
    """Seconds of each shard."""
    return [sum(commit.took.values()) for commit in stage.commits]


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M")


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _unbroken(text: str) -> str:
    """With spaces at which no line is broken."""
    return text.replace(" ", "\u00a0")
