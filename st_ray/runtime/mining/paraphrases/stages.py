"""From rows to pairs in order, stage by stage, each in a folder of its own that is staged.

sample    some rows are copied, by which floors are guessed
floors    (last try) levels that the best others of each row reach
compare   the pairs of two blocks that may matter          or    ask    the picks of rows, by an index
pick      the picks of the rows of a block
order     ranges of all picks, in order
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from st_ray.runtime import pipeline
from st_ray.runtime.clock import Laps
from st_ray.runtime.meter import Meter, MeterClient
from st_ray.runtime.mining.paraphrases.ask import ASKED_ROWS, Ask
from st_ray.runtime.mining.paraphrases.blocks import Blocks
from st_ray.runtime.mining.paraphrases.compare import Compare, Comparison, compared_part
from st_ray.runtime.mining.paraphrases.config import MineParaphrasesConfig
from st_ray.runtime.mining.paraphrases.pick import RANGE_PAIRS, Order, Pick, ranges
from st_ray.runtime.mining.paraphrases.sample import KeepSample, RowFloors, guess, sample_positions
from st_ray.runtime.mining.paraphrases.staged import SUFFIX, Slices
from st_ray.runtime.mining.paraphrases.write import PART_PAIRS, WritePairs
from st_ray.runtime.pipeline import Row
from st_ray.runtime.resources import ActorPlan, cluster_can_grow, cluster_nodes, plan_actors
from st_ray.runtime.search.pool import SearchPool, start_pool
from st_ray.runtime.search.target import Target
from st_ray.runtime.shuffle import spread
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.scoring.triangle import Triangle
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import STAGING, OutputFolder, Part, Writer

_ACTOR_BYTES = 1 << 30
"""Of an actor or a task: its libraries, two blocks, and pairs."""
_LEVELS = "levels.json"
_SAMPLE = "sample"
_SAMPLED_ROWS = 8192
"""Of the sample, that one task copies."""


@dataclass(frozen=True)
class Try:
    """A level that pairs must reach.

    Attributes:
        least: the level.
        certain: whether the best pairs reach it for sure; else it is a guess.
        by_row: whether it is so low that each row needs a level of its own.
    """

    name: str
    least: float
    certain: bool = False
    by_row: bool = False


@dataclass(frozen=True)
class Mining:
    """What is settled before the first shard.

    Attributes:
        laps: is told how long stages took.
        results: of each stage that ran, by name.
    """

    config: MineParaphrasesConfig
    target: Target
    blocks: Blocks
    output: OutputFolder
    lock: OutputLock
    laps: Laps
    results: dict[str, StageResult]

    def compared(self) -> Slices:
        """The best pairs of all, by comparing all rows with all others."""
        sample = self._sample()
        for attempt in self._tries(sample):
            picked = self._pick(attempt, self._compare(attempt, self._row_floors(attempt, sample)))
            pairs = self._order(attempt.name, picked)
            # All that is found reaches the floor. Below a guess, pairs may be missing.
            if attempt.certain or pairs.count == self.config.max_pairs:
                break
        return pairs

    def asked(self) -> Slices:
        """The best pairs of those that an index finds."""
        rows = self.target.store.rows
        tasks = [(first, min(first + ASKED_ROWS, rows)) for first in range(0, rows, ASKED_ROWS)]
        folder, writer = self._folder("ask", {"asked_rows": ASKED_ROWS})
        meter = Meter()
        # Nobody is asked where all was done before.
        missing = len(folder.committed(writer)) < len(tasks)
        pool = self._index(meter.client()) if missing else SearchPool((), np.zeros(1, np.int64), ())
        try:
            stage = Stage(
                label="ask the index",
                tasks=tasks,
                rows=[last - first for first, last in tasks],
                finish=Ask(self.target.store, pool, self.config.top_k),
                writers=2,
                suffix=SUFFIX,
                describe=_rows,
            )
            entries = self._run("ask", stage, folder, writer, meter)
        finally:
            pool.stop()
        return self._order("asked", _placed(writer, entries))

    def write(self, pairs: Slices, writer: Writer) -> StageResult:
        """The parts of the result, at least one."""
        tasks = [(first, min(first + PART_PAIRS, pairs.count)) for first in range(0, max(pairs.count, 1), PART_PAIRS)]
        meter = Meter()
        stage = self._stage(
            "write",
            tasks,
            [last - first for first, last in tasks],
            lambda threads: WritePairs(self.target.store, pairs, self.config.keep_text, meter.client()),
            suffix=".parquet",
            describe=lambda task: f"pairs {task[0]:,} to {task[1] - 1:,}",
            noun="pairs",
        )
        result = run_stage(stage, self.output, writer, self.lock, meter)
        self.results["write"] = result
        self.laps.end("write")
        return result

    def _sample(self) -> list[str]:
        """Where the sample lies."""
        store = self.target.store
        positions = sample_positions(store.rows, self.config.top_k)
        tasks = np.array_split(positions, max(1, -(-len(positions) // _SAMPLED_ROWS)))
        folder, writer = self._folder(_SAMPLE, {"sample": len(positions)})
        meter = Meter()
        stage = self._stage(
            _SAMPLE,
            tasks,
            [len(task) for task in tasks],
            lambda threads: KeepSample(store, meter.client()),
            suffix=".npy",
            describe=lambda task: f"{len(task):,} rows of a sample",
        )
        return [url for url, _ in _placed(writer, self._run(_SAMPLE, stage, folder, writer, meter))]

    def _tries(self, sample: Sequence[str]) -> Iterator[Try]:
        """Guesses of the level that the best pairs reach, falling, down to one that is certain."""
        config, rows = self.config, self.target.store.rows
        lowest = -np.inf
        if config.min_score is not None:
            asked = torch.tensor([config.min_score], dtype=torch.float32)
            lowest = float(Triangle(self.target.similarity).levels(asked)[0])

        def guessed() -> list[float]:
            call = (list(sample), self.target.similarity, rows, config.top_k, config.max_pairs)
            return list(pipeline.result_of(spread(guess, [call], 1)[0][0]))

        # All runs use the same, since parts that were compared before are kept.
        folder, _ = self._folder(_SAMPLE, {"sample": len(sample_positions(rows, config.top_k))})
        levels = folder.settle(_LEVELS, guessed) if rows > 1 else []
        self.laps.end("guess")
        for number, level in enumerate(levels):
            if level <= lowest:
                yield Try("try-last", lowest, certain=True)
                return
            yield Try(f"try-{number}", level)
        yield Try("try-last", lowest, certain=True, by_row=True)

    def _row_floors(self, attempt: Try, sample: Sequence[str]) -> tuple[str, ...]:
        """Where the levels of each block's rows lie, if there are any."""
        store, top_k = self.target.store, self.config.top_k
        if not attempt.by_row or len(sample_positions(store.rows, top_k)) <= top_k + 1:
            return ()
        folder, writer = self._folder("floors", {})
        meter = Meter()
        tasks = [self.blocks.bounds(number) for number in range(len(self.blocks))]
        stage = self._stage(
            "floors",
            tasks,
            [last - first for first, last in tasks],
            lambda threads: RowFloors(store, self.target.similarity, sample, top_k, threads, meter.client()),
            suffix=".npy",
            describe=_rows,
        )
        return tuple(url for url, _ in _placed(writer, self._run("floors", stage, folder, writer, meter)))

    def _compare(self, attempt: Try, row_floors: tuple[str, ...]) -> list[str]:
        """Where the pairs of each couple of blocks lie that may matter."""
        blocks, config = self.blocks, self.config
        tasks = blocks.couples()
        plan = plan_actors(
            cluster_nodes(),
            shards=len(tasks),
            actor_bytes=_ACTOR_BYTES,
            actors=config.actors,
            gpus_per_actor=config.gpus_per_actor,
            cpus_per_actor=config.cpus_per_actor,
            can_grow=cluster_can_grow(),
        )
        work = Comparison(
            self.target.store,
            self.target.similarity,
            blocks,
            config.top_k,
            config.max_pairs,
            attempt.least,
            row_floors,
        )
        meter = Meter()
        make = functools.partial(Compare, work, plan.threads, "cuda" if plan.gpus else "cpu", meter.client())
        sizes = [blocks.rows_of(one) * blocks.rows_of(other) for one, other in tasks]
        stage = Stage(
            label="compare",
            tasks=tasks,
            # Of a block with itself, about half of the pairs are compared.
            rows=[size // 2 if one == other else size for size, (one, other) in zip(sizes, tasks, strict=True)],
            connect=functools.partial(_in_actors, make, plan),
            finish=compared_part,
            suffix=SUFFIX,
            describe=lambda task: f"blocks {task[0]} and {task[1]} of {len(blocks)}",
            noun="pairs",
        )
        name = f"{attempt.name}/compare"
        folder, writer = self._folder(name, {"least": str(attempt.least)})
        return [url for url, _ in _placed(writer, self._run(name, stage, folder, writer, meter))]

    def _pick(self, attempt: Try, compared: Sequence[str]) -> list[tuple[str, ShardEntry]]:
        """The picks of the rows of each block."""
        blocks = self.blocks
        tasks = [
            (*blocks.bounds(number), [compared[place] for place in blocks.couples_with(number)])
            for number in range(len(blocks))
        ]
        meter = Meter()
        stage = self._stage(
            "pick",
            tasks,
            [blocks.rows_of(number) for number in range(len(blocks))],
            lambda threads: Pick(self.config.top_k, meter.client()),
            describe=_rows,
        )
        name = f"{attempt.name}/pick"
        folder, writer = self._folder(name, {})
        return _placed(writer, self._run(name, stage, folder, writer, meter))

    def _order(self, name: str, picked: Sequence[tuple[str, ShardEntry]]) -> Slices:
        """All picks in order, each once, up to the last that counts."""
        config = self.config
        entries = [entry for _, entry in picked]
        tasks = ranges(entries, config.max_pairs)
        meter = Meter()
        stage = self._stage(
            "order",
            tasks,
            np.diff(np.linspace(0, sum(entry.rows for entry in entries), len(tasks) + 1).astype(int)).tolist(),
            lambda threads: Order([url for url, _ in picked], config.min_score, meter.client()),
            describe=lambda task: f"pairs with keys from {task[0]:x}",
            noun="pairs",
        )
        name = f"{name}/order"
        folder, writer = self._folder(name, {"range_pairs": RANGE_PAIRS})
        placed = _placed(writer, self._run(name, stage, folder, writer, meter))
        return Slices([(url, entry.rows) for url, entry in placed], config.max_pairs)

    def _index(self, meter: MeterClient) -> SearchPool:
        plan = self.target.plan(self.config)
        return start_pool(*self.target.shares(plan, 0, meter), plan)

    def _folder(self, name: str, lineage: Lineage) -> tuple[OutputFolder, Writer]:
        """The folder of a stage, begun or gone on with."""
        folder = OutputFolder(fs.join(self.output.folder, STAGING, name), "pairs in the making")
        return folder, folder.begin({"block_rows": self.blocks.size, **lineage})

    def _run(
        self, name: str, stage: Stage, folder: OutputFolder, writer: Writer, meter: Meter
    ) -> tuple[ShardEntry, ...]:
        result = run_stage(stage, folder, writer, self.lock, meter)
        self.results[name] = result
        self.laps.end(stage.label)
        return result.entries

    def _stage(
        self,
        label: str,
        tasks: Sequence[Any],
        rows: Sequence[int],
        finish: Callable[[int], Callable[[Row], Part]],
        suffix: str = SUFFIX,
        **fields: Any,
    ) -> Stage:
        """A stage of one step, which may have all CPUs; `finish` gets its threads."""
        plan = plan_actors(
            cluster_nodes(),
            shards=len(tasks),
            actor_bytes=_ACTOR_BYTES,
            actors=self.config.actors,
            gpus_per_actor=0.0,
            cpus_per_actor=self.config.cpus_per_actor,
            can_grow=cluster_can_grow(),
        )
        return Stage(
            label=label,
            tasks=tasks,
            rows=rows,
            finish=finish(plan.threads),
            writers=plan.maximum,
            writer_cpus=plan.cpus,
            suffix=suffix,
            **fields,
        )


def _in_actors(make: Callable[[], Callable[[Row], Row]], plan: ActorPlan, ds: Any, careful: bool) -> Any:
    pool = plan.fitted(cluster_nodes()) if careful else plan
    return pipeline.map_actors(ds, make, pool, careful=careful)


def _rows(task: Sequence[int]) -> str:
    return f"rows {task[0]:,} to {task[1] - 1:,}"


def _placed(writer: Writer, entries: Sequence[ShardEntry]) -> list[tuple[str, ShardEntry]]:
    """Where each part lies."""
    return [(writer.part_url(entry.name), entry) for entry in entries]
