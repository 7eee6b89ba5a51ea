"""What the status command prints: a screen, a line, or JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

from st_ray.core.summary import human_bytes, human_seconds, render_summary
from st_ray.store.journal import NotedError
from st_ray.store.status import StageStatus, Status

_SHOWN = 3
"""Errors on a screen; --json has all that are kept."""
_NAMED = 4
"""Missing shards on a screen."""


def screen(status: Status) -> str:
    """All there is to say, for people."""
    lines = {"output": status.folder + (f" ({status.kind})" if status.kind else ""), **_who(status)}
    stage = status.stage
    if status.manifest is not None:
        lines |= _result(status)
    elif stage is not None:
        lines |= _stage(status, stage)
    else:
        lines["begun"] = "not yet: the input and the model are looked at first"
    if stage is not None:
        lines |= _pace(status, stage) | _of_parts(stage)
    text = render_summary(f"status: {status.state}", lines)
    return "\n".join([text, *_errors(status), *_next(status)])


def line(status: Status) -> str:
    """The most important of it."""
    parts = [status.folder, status.state]
    stage = status.stage
    if stage is not None and stage.shards != 0:
        parts += [stage.label, *([_shards(stage)] if _has_shards(stage) else []), _rows(stage)]
        rate = stage.pace.recent or stage.pace.overall
        if rate is not None and status.state == "running":
            parts.append(_speed(rate, stage))
            parts += [] if stage.seconds_left is None else [f"ETA {human_seconds(stage.seconds_left)}"]
    elif status.kind:
        parts.append(status.kind)
    if status.errors and status.state != "finished":
        parts.append(f"last error: {_first_line(status.errors[-1].message)}")
    return "  ".join(parts)


def as_json(status: Status) -> str:
    """The same as one object on one line; times in seconds since the epoch."""
    stage, manifest = status.stage, status.manifest
    document: dict[str, Any] = {
        "output": status.folder,
        "kind": status.kind,
        "state": status.state,
        "owner": dataclasses.asdict(status.owner) if status.owner else None,
        "stage": _stage_json(stage) if stage is not None else None,
        "other_stages": [_stage_json(other) for other in status.others],
        "eta_seconds": stage.seconds_left if stage is not None and status.state == "running" else None,
        "errors": [{**dataclasses.asdict(error), "earlier": _is_earlier(status, error)} for error in status.errors],
        "bytes": manifest.total_bytes if manifest is not None else None,
        "seconds": manifest.seconds if manifest is not None else None,
        "at": status.at,
    }
    return json.dumps(document, ensure_ascii=False)


def _stage_json(stage: StageStatus) -> dict[str, Any]:
    slowest = stage.slowest and {**dataclasses.asdict(stage.slowest), "seconds": stage.slowest.seconds}
    return {**dataclasses.asdict(stage), "slowest": slowest}


def _who(status: Status) -> dict[str, str]:
    if status.state == "stopped":
        return {"stopped": "nobody works on it, and it is not finished"}
    owner = status.owner
    if owner is None or status.state == "finished":
        return {}
    process = f"process {owner.pid} on {owner.host}"
    beat = f", last heartbeat {_ago(status, owner.beat)} ago" if owner.beat else ""
    since = f"since {_clock(owner.since)}" if owner.since else "since an unknown time"
    if status.state == "died":
        return {"died": f"{process} is gone, which worked on it {since}{beat}"}
    took = f", for {_ago(status, owner.since)}" if owner.since else ""
    return {"running": f"{since}{took}: {process}{beat}"}


def _result(status: Status) -> dict[str, str]:
    manifest = status.manifest
    lines = {}
    if manifest is not None and manifest.entries:
        lines["rows"] = f"{manifest.rows:,} in {len(manifest.entries):,} shards, {human_bytes(manifest.total_bytes)}"
    if manifest is not None and manifest.seconds is not None:
        lines["last run"] = human_seconds(manifest.seconds)
    return lines


def _stage(status: Status, stage: StageStatus) -> dict[str, str]:
    lines = {"stage": stage.label + (f", in {stage.folder}" if stage.folder else "")}
    beside = "; ".join(f"{one.label} {_shards(one) if _has_shards(one) else _rows(one)}" for one in status.others)
    if beside:
        lines["other stages"] = beside
    if _has_shards(stage):
        lines["shards"] = _of(stage.shards_done, stage.shards)
    lines[stage.noun] = _of(stage.rows_done, stage.rows)
    if status.state != "running" and stage.missing:
        shown = stage.missing[:_NAMED]
        more = (stage.shards or 0) - stage.shards_done - len(shown)
        lines["missing"] = ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
    return lines


def _pace(status: Status, stage: StageStatus) -> dict[str, str]:
    pace = stage.pace
    overall = "in the last run" if status.manifest is not None else "since the last run came to this stage"
    rates = {"lately": pace.recent, overall: pace.overall}
    told = ", ".join(f"{_speed(rate, stage)} {when}" for when, rate in rates.items() if rate is not None)
    lines = {"rate": told} if told else {}
    if pace.last is not None:
        what = "commit" if stage.shards is not None else "record"
        lines[f"last {what}"] = f"{_clock(pace.last)}, {_ago(status, pace.last)} ago"
    if status.state == "running" and stage.seconds_left is not None:
        lines["ETA"] = f"{human_seconds(stage.seconds_left)} for the rest of this stage"
    return lines


def _of_parts(stage: StageStatus) -> dict[str, str]:
    lines = {}
    if stage.slowest is not None:
        steps = sorted(stage.slowest.took.items(), key=lambda item: -item[1])
        took = ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps)
        lines["slowest shard"] = f"{stage.slowest.name}, {stage.slowest.seconds:.1f} s: {took}"
    if stage.dropped:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in stage.dropped.items())
        lines["left out"] = f"{sum(stage.dropped.values()):,} rows: {reasons}"
    return lines


def _errors(status: Status) -> Iterator[str]:
    shown = status.errors[-_SHOWN:]
    if len(status.errors) > len(shown):
        yield f"  {len(status.errors) - len(shown)} errors before these (see --json)"
    for error in shown:
        earlier = " of an earlier run" if _is_earlier(status, error) else ""
        where = f", {error.shard}" if error.shard else ""
        yield f"  error{earlier}, {_ago(status, error.at)} ago{where}: {error.message}"
        if error.remedy:
            yield f"    -> {error.remedy}"


def _is_earlier(status: Status, error: NotedError) -> bool:
    """Whether a run has begun since."""
    owner = status.owner
    return owner is not None and owner.since is not None and error.at < owner.since


def _next(status: Status) -> Iterator[str]:
    if status.state in ("died", "stopped"):
        yield "  next: run the same command again; it goes on from what is committed"


def _has_shards(stage: StageStatus) -> bool:
    """A training has none."""
    return stage.shards is not None or stage.shards_done > 0


def _shards(stage: StageStatus) -> str:
    return _of(stage.shards_done, stage.shards, " shards")


def _rows(stage: StageStatus) -> str:
    return _of(stage.rows_done, stage.rows, f" {stage.noun}")


def _speed(rate: float, stage: StageStatus) -> str:
    return f"{rate:,.0f} {stage.noun}/s" if rate >= 100 else f"{rate:.3g} {stage.noun}/s"


def _of(done: int, planned: int | None, noun: str = "") -> str:
    """`4 of 20 (20%)`; how many there will be need not be known."""
    share = f" ({100 * done // planned}%)" if planned else ""
    return f"{done:,} of {'?' if planned is None else f'{planned:,}'}{noun}{share}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _ago(status: Status, at: float | None) -> str:
    return human_seconds(max(0.0, status.at - (at or status.at)))


def _clock(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
