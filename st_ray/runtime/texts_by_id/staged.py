"""From files of queries and of a corpus to a folder of their texts, laid out for the slots that want them by id.

FOLDER/plan.json    what each slot is about, and which tasks copy texts: see `Places`
FOLDER/data         a part of texts for each of these tasks
FOLDER/staging      the matches, until all texts are copied
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from st_ray.runtime.corpus import ScanRequest, reading_lineage
from st_ray.runtime.meter import Meter
from st_ray.runtime.resources import cluster_can_grow, cluster_nodes, task_count
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.texts_by_id.places import Places, Sides
from st_ray.runtime.texts_by_id.texts import CopyTexts, TextTask
from st_ray.store import fs
from st_ray.store.lineage import Lineage, lineage_differences
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest
from st_ray.store.output import STAGING, OutputFolder, Writer
from st_ray.store.readers.sources import resolve_inputs
from st_ray.store.readers.spec import ReadSpec

PLAN = "plan.json"
TEXT_SHARD_ROWS = 20_000
"""Rows of queries or of the corpus that are read at once."""


def text_request(inputs: Sequence[str], spec: ReadSpec, on_bad_row: str, folder: str) -> ScanRequest:
    """How to read the texts of queries or of a corpus.

    Args:
        spec: the columns that the user named.
        folder: the job's output.

    Raises:
        InputError: no such file or column.
    """
    files, spec = resolve_inputs(inputs, spec)
    return ScanRequest(tuple(files), spec, TEXT_SHARD_ROWS, fs.join(folder, STAGING), on_bad_row)


def texts_lineage(queries: ScanRequest, corpus: ScanRequest, digests: Mapping[str, Any]) -> Lineage:
    """What identifies the texts; `digests` are those of `queries` and `corpus`."""
    readings = {
        f"{side}_{name}": value
        for side, scan in (("queries", queries), ("corpus", corpus))
        for name, value in reading_lineage(scan.spec, scan.on_bad_row).items()
    }
    return {"queries": digests["queries"], "corpus": digests["corpus"], **readings}


def begin_anew(output: OutputFolder, lineage: Lineage) -> Writer:
    """A writer; what was staged for something else goes."""
    begun = output.begun_lineage()
    if begun is not None and lineage_differences(begun, lineage):
        output.clear()
    return output.begin(lineage)


def stage_texts(
    output: OutputFolder,
    lineage: Lineage,
    sides: Sides,
    find: Callable[[str], Places],
    stamps: Mapping[str, str],
    lock: OutputLock,
    actors: str = "auto",
) -> Manifest:
    """Find the texts and copy them, as far as an earlier run has not; the folder is complete then.

    Args:
        output: with `PLAN` beside its parts.
        find: finds them, with a folder for the matches.
        stamps: of the files.
        lock: held on the job's output.
        actors: the flag.

    Raises:
        InputError: as `find` raises, or a text cannot be read.
        ShardError: some texts could not be copied; the others are kept.
    """
    writer, matches = begin_anew(output, lineage), fs.join(output.folder, STAGING)
    plan = output.settle(PLAN, lambda: find(matches).to_json())
    tasks = [TextTask(*task) for task in plan["tasks"]]
    shards, meter = {role: (side, corpus.shards) for role, (side, corpus) in sides.items()}, Meter()
    stage = Stage(
        label="texts",
        tasks=tasks,
        rows=[task.rows for task in tasks],
        finish=CopyTexts(matches, shards, meter.client()),
        writers=task_count(cluster_nodes(), len(tasks), actors, cluster_can_grow()),
        writer_cpus=1.0,
        noun="texts",
    )
    result = run_stage(stage, output, writer, lock, meter)
    skipped = {"queries": sides["query"][1].bad_rows, "corpus": sides["document"][1].bad_rows}
    manifest = Manifest(output.kind, lineage, result.entries, {"stamps": stamps, "skipped": skipped})
    output.finish(manifest)
    return manifest


def read_places(folder: str, cut: Callable[..., Any]) -> Places:
    """Where the texts lie that are staged in `folder`; `cut` makes what a slot is about."""
    return Places.from_json(json.loads(fs.read_bytes(fs.join(folder, PLAN))), cut)
