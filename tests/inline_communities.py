"""The community job in this process: its stages, tasks and actors run where they are called."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa

from st_ray.mining import communities
from st_ray.runtime.mining.communities import count, holders, job, parts
from st_ray.runtime.mining.communities.config import DetectCommunitiesConfig
from st_ray.runtime.pipeline import pack
from st_ray.runtime.stage import Stage
from st_ray.runtime.stage_result import StageResult
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.communities import open_communities, read_communities
from st_ray.store.output import OutputFolder, Writer
from tests.inline_ray import inline_ray

JOB = "st_ray.runtime.mining.communities.job"


class LocalActors:
    """As much of Ray as `holders` uses. Actors may forget all at each call, as those do that are started anew."""

    def __init__(self, forgetful: bool = False) -> None:
        self._forgetful = forgetful
        self.asked: list[str] = []

    def remote(self, kind: Callable[..., Any]) -> Any:
        return SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=lambda *args: _Actor(self, lambda: kind(*args), self._forgetful))
        )

    def put(self, value: Any) -> Any:
        return value

    def kill(self, actor: Any) -> None:
        pass


class _Actor:
    def __init__(self, owner: LocalActors, make: Callable[[], Any], forgetful: bool) -> None:
        self._owner, self._make, self._forgetful, self._made = owner, make, forgetful, make()

    def __getattr__(self, name: str) -> Any:
        self._made = self._make() if self._forgetful else self._made
        self._owner.asked.append(name)
        return SimpleNamespace(remote=getattr(self._made, name))


class _Meter:
    def client(self) -> Any:
        return SimpleNamespace(add=lambda **amounts: None, flush=lambda: None)

    def read(self) -> dict[str, float]:
        return {}


def _run_stage(stage: Stage, output: OutputFolder, writer: Writer, *_: Any) -> StageResult:
    committed = output.committed(writer)
    rows = [
        {"shard": number, "name": name, "task": pack(stage.tasks[number])}
        for number, name in enumerate(stage.names())
        if name not in committed
    ]
    found: Any = stage.connect(rows, False)  # type: ignore[arg-type]
    fresh = {row["name"]: writer.commit(row["name"], stage.finish(row)) for row in found}
    entries = tuple((committed | fresh)[name] for name in stage.names())
    return StageResult(entries, tuple(fresh.values()), len(entries) - len(fresh), 0, 0, 0, 0)


def _map_actors(rows: list[Any], make: Callable[[], Callable[[Any], Any]], *_: Any, **__: Any) -> Iterator[Any]:
    step = make()
    return ({"shard": row["shard"], "name": row["name"]} | step(row) for row in rows)


@contextmanager
def inline_job(
    *,
    actors: LocalActors | None = None,
    group: int = 16_384,
    block: int = 65_536,
    held: int = 16_384,
    share: int = 25_000,
    keep_bytes: int = 1 << 30,
    part_rows: int = 200_000,
    centres: int = 256,
    listed: int = 1 << 22,
    note_seconds: float = 10.0,
) -> Iterator[None]:
    """`detect_communities` runs here, with everything cut into pieces of these sizes."""
    with (
        inline_ray(JOB),
        mock.patch.multiple(
            job,
            run_stage=_run_stage,
            Meter=_Meter,
            cluster_can_grow=lambda: False,
            keep_bytes=lambda *_: keep_bytes,
            _progress=lambda *_: nullcontext(),
            PART_ROWS=part_rows,
            NOTE_SECONDS=note_seconds,
        ),
        mock.patch("st_ray.runtime.pipeline.map_actors", _map_actors),
        mock.patch.multiple(count, _LEAST_GROUP=group, _BLOCK_ROWS=block),
        mock.patch.multiple(holders, ray=actors or LocalActors(), _BLOCK_ROWS=held, _LEAST_ROWS=share),
        mock.patch.object(parts, "PART_ROWS", part_rows),
        mock.patch.multiple(communities, CENTRES=centres, LISTED=listed),
    ):
        yield


def config_for(store: str, output: Path | str, **changes: Any) -> DetectCommunitiesConfig:
    settings = {"actors": "3", "cpus_per_actor": 0.5}
    return DetectCommunitiesConfig(embeddings=store, output=str(output), **{**settings, **changes})


def floats_of(store: str) -> np.ndarray:
    """What the rows of a store stand for, float32 `[n, d]`."""
    opened = StoredVectors.open(store)
    return opened.floats(opened.take(np.arange(opened.rows)))


def table_of(output: Path | str) -> pa.Table:
    """All parts."""
    return pa.concat_tables(read_communities(str(output), entry) for entry in open_communities(str(output)).entries)


def communities_of(table: pa.Table) -> list[list[int]]:
    """As `st_ray.community_detection` returns them; the columns that number them are checked."""
    numbers, rows = table["community"].to_numpy(), table["row"].to_numpy()
    bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)] if len(numbers) else [0]
    spans = list(itertools.pairwise(bounds))
    assert numbers.tolist() == [number for number, (first, last) in enumerate(spans) for _ in range(first, last)]
    assert table["rank"].to_pylist() == [rank + 1 for first, last in spans for rank in range(last - first)]
    return [rows[first:last].tolist() for first, last in spans]
