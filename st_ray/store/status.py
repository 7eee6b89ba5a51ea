"""Where an output stands, read from its folder alone: who works on it, what is committed, how fast, what went wrong."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.journal import CHECKPOINTS, STAGING, NotedError, StagePlan, read_errors, read_stage
from st_ray.store.lineage import lineage_digest
from st_ray.store.lock import Owner, owner_of
from st_ray.store.manifest import MANIFEST, Manifest, read_manifest
from st_ray.store.output import LOCK, REJECTS, Commit, OutputFolder, Writer, part_name, read_run
from st_ray.store.pace import Pace, pace_of

State = Literal["running", "died", "stopped", "finished"]
"""Of those that do not run and are not finished, the job that died still holds its lock."""

_WITHOUT_STAGES = {"data", "commits", REJECTS, CHECKPOINTS}
_DEPTH = 6
"""Folders within folders in which stages are looked for."""
_NAMED = 10
"""Missing shards that are named."""


@dataclass(frozen=True)
class SlowestShard:
    """The part that took longest, and the seconds of work on it by step."""

    name: str
    took: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(self.took.values())


@dataclass(frozen=True)
class StageStatus:
    """How far a stage is.

    Attributes:
        folder: of its parts, within the output; empty for the output itself.
        label: what is done.
        noun: what the rows are called.
        shards: planned; None where nobody has said, and in a training.
        shards_done: committed.
        rows: planned; None where nobody has said.
        rows_done: of the committed shards.
        missing: names of the first shards that are not committed.
        pace: when rows were committed, and how fast.
        slowest: None where no commit says how long it took.
        dropped: rows left out of the committed shards, by reason.
    """

    folder: str
    label: str
    noun: str
    shards: int | None
    shards_done: int
    rows: int | None
    rows_done: int
    missing: tuple[str, ...]
    pace: Pace
    slowest: SlowestShard | None
    dropped: Mapping[str, int]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing of what was planned."""
        return self.rows is not None and self.rows_done >= self.rows and not self.missing

    @property
    def seconds_left(self) -> float | None:
        """At the latest rate, about; None where that or the plan is not known."""
        rate = self.pace.recent or self.pace.overall
        return (self.rows - self.rows_done) / rate if rate and self.rows is not None else None


@dataclass(frozen=True)
class Status:
    """Where an output stands.

    Attributes:
        kind: what the job makes; None where it has not begun to.
        owner: who holds its lock; None where nobody does.
        stage: the one under way, or the last one; None where there is none yet.
        others: stages beside that.
        errors: the last ones, the latest at the end.
        manifest: of a finished output.
        at: when this was found out, in seconds since the epoch.
    """

    folder: str
    state: State
    kind: str | None
    owner: Owner | None
    stage: StageStatus | None
    others: tuple[StageStatus, ...]
    errors: tuple[NotedError, ...]
    manifest: Manifest | None
    at: float


def status_of(folder: str) -> Status:
    """Look at an output. What changes meanwhile may show in one figure and not yet in another.

    Raises:
        InputError: there is no output of st-ray in `folder`, not even one that is begun.
        OutputError: its `run.json` is damaged.
    """
    folder = folder.rstrip("/") if len(folder) > 1 else folder
    now = time.time()
    run, owner = read_run(folder), owner_of(fs.join(folder, LOCK))
    manifest = read_manifest(folder) if fs.is_file(fs.join(folder, MANIFEST)) else None
    if run is None and owner is None and manifest is None:
        raise InputError(
            f"{folder} holds no output of st-ray, not even one that is begun", "name the --output of a job"
        )
    inside = list(_folders(folder, _DEPTH)) if manifest is None else []
    if manifest is not None:
        stages = [_finished_stage(folder, manifest)]
    else:
        stages = [_stage(folder, place, plan) for place, plan in _plans(inside)]
        if not stages and run is not None:
            stages = [_unplanned(folder, run)]
    errors = [error for place in inside for error in read_errors(place)]
    current = next((stage for stage in reversed(stages) if not stage.complete), stages[-1] if stages else None)
    return Status(
        folder=folder,
        state=_state(manifest, owner),
        kind=manifest.kind if manifest is not None else run["kind"] if run is not None else None,
        owner=owner,
        stage=current,
        others=tuple(stage for stage in stages if stage is not current),
        errors=tuple(sorted(errors, key=lambda error: error.at)),
        manifest=manifest,
        at=now,
    )


def _state(manifest: Manifest | None, owner: Owner | None) -> State:
    if manifest is not None:
        return "finished"
    if owner is None:
        return "stopped"
    # Where it cannot be told, the lock says that somebody runs.
    return "died" if owner.alive is False else "running"


def _folders(folder: str, depth: int) -> Iterator[str]:
    """`folder` and those within it that may hold outputs of stages."""
    yield folder
    if depth:
        for name in fs.list_folders(folder):
            if name not in _WITHOUT_STAGES:
                yield from _folders(fs.join(folder, name), depth - 1)


def _plans(folders: Sequence[str]) -> list[tuple[str, StagePlan]]:
    """Where there are stages, and their plans; the latest comes last."""
    found = ((folder, read_stage(folder)) for folder in folders)
    return sorted(((folder, plan) for folder, plan in found if plan is not None), key=lambda item: item[1].at)


def _stage(folder: str, place: str, plan: StagePlan) -> StageStatus:
    inside = place[len(folder) + 1 :]
    if plan.suffix is None:
        return _training(inside, place, plan)
    names = {part_name(n, len(plan.rows), plan.suffix): rows for n, rows in enumerate(plan.rows)}
    found = _commits(place)
    commits = {name: found[name] for name in names if name in found}
    return StageStatus(
        folder=inside,
        label=plan.label,
        noun=plan.noun,
        shards=len(names),
        shards_done=len(commits),
        rows=sum(plan.rows),
        rows_done=sum(names[name] for name in commits),
        missing=tuple(name for name in names if name not in commits)[:_NAMED],
        pace=pace_of([(commit.at, names[name]) for name, commit in commits.items()], plan.at),
        slowest=_slowest(commits),
        dropped=_dropped(commits),
    )


def _finished_stage(folder: str, manifest: Manifest) -> StageStatus:
    """The parts of a finished output; its rows are those in the parts."""
    commits = _commits(folder) if manifest.entries else {}
    moments = [(commits[entry.name].at, entry.rows) for entry in manifest.entries if entry.name in commits]
    last, seconds = max((at for at, _ in moments), default=0.0), manifest.seconds
    return StageStatus(
        folder="",
        label=manifest.kind,
        noun="rows",
        shards=len(manifest.entries),
        shards_done=len(manifest.entries),
        rows=manifest.rows,
        rows_done=manifest.rows,
        missing=(),
        pace=pace_of(moments, None if seconds is None else last - seconds),
        slowest=_slowest(commits),
        dropped=manifest.dropped,
    )


def _unplanned(folder: str, run: Mapping[str, Any]) -> StageStatus:
    """An output that is begun, of which nobody has said how much it will be."""
    commits = _commits(folder)
    rows = sum(commit.entry.rows for commit in commits.values())
    pace = pace_of([(commit.at, commit.entry.rows) for commit in commits.values()], None)
    return StageStatus(
        "", run["kind"], "rows", None, len(commits), None, rows, (), pace, _slowest(commits), _dropped(commits)
    )


def _training(inside: str, place: str, plan: StagePlan) -> StageStatus:
    """A training, by its last checkpoint."""
    steps, moments = _last_checkpoint(fs.join(place, STAGING, CHECKPOINTS))
    pace = pace_of(moments, plan.at)
    return StageStatus(inside, plan.label, plan.noun, None, 0, sum(plan.rows), steps, (), pace, None, {})


def _last_checkpoint(folder: str) -> tuple[int, list[tuple[float, int]]]:
    """Steps taken, and the steps of each of its records with the record's time; nothing where there is none."""
    for name in reversed(fs.list_folders(folder)):
        try:
            state = json.loads(fs.read_bytes(fs.join(folder, name, "state.json")))
            history = [(float(record["time"]), int(record["step"])) for record in state["history"]]
            before = [0, *(step for _, step in history)]
            return int(state["step"]), [(at, step - before[n]) for n, (at, step) in enumerate(history)]
        except (FileNotFoundError, ValueError, KeyError):
            continue  # it is being written
    return 0, []


def _commits(folder: str) -> dict[str, Commit]:
    """Those of the lineage that the output was begun with."""
    run = read_run(folder)
    if run is None:
        return {}
    writer = Writer(folder, run["run_id"], lineage_digest(run["lineage"]))
    return OutputFolder(folder, run["kind"]).commits(writer)


def _slowest(commits: Mapping[str, Commit]) -> SlowestShard | None:
    timed = [SlowestShard(name, commit.took) for name, commit in commits.items() if commit.took]
    return max(timed, key=lambda shard: shard.seconds, default=None)


def _dropped(commits: Mapping[str, Commit]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for commit in commits.values():
        total.update(commit.entry.dropped)
    return dict(sorted(total.items()))
