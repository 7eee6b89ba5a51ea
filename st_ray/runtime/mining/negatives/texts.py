"""The first step: the distinct documents and anchors of files of pairs and of a corpus, each text once, with an id.

    WORK/texts/corpus    parts of id, text
    WORK/texts/anchors   parts of id, text, positives (ids of documents), own_text (that of the document that is the
                         anchor's own text, or null)

Rows of the corpus, then those of pairs, are numbered through. The id of a document, and that of an anchor, is the
number of the row in which its text first appears as such; so ids rise from part to part and row to row.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import InputError, StRayError
from st_ray.runtime.corpus import (
    Corpus,
    ScanRequest,
    flags_of_a_corpus,
    prepare_corpus,
)
from st_ray.runtime.meter import Meter
from st_ray.runtime.mining.negatives.distinct import Counts, Found, Task, find_distinct, read_anchors, read_places
from st_ray.runtime.mining.negatives.inputs import TextRequest, flags_of_pairs
from st_ray.runtime.mining.negatives.reading import Shard, Source, numbered
from st_ray.runtime.mining.negatives.steps import one_step
from st_ray.runtime.mining.negatives.stored import StoredTexts
from st_ray.runtime.stage import run_stage
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest, content_digest
from st_ray.store.output import STAGING, OutputFolder, Part

KIND = "texts of pairs"
SIDE = "distinct texts"
CORPUS, ANCHORS = "corpus", "anchors"
_PLAN = "plan.json"
_ROW_GROUP_ROWS = 8192


@dataclass(frozen=True)
class PairTexts:
    """What the step leaves.

    Attributes:
        digest: of the content.
        about: counts, and the names of the columns of pairs.
    """

    corpus: StoredTexts
    anchors: StoredTexts
    digest: str
    about: Mapping[str, Any]


def prepare_texts(request: TextRequest, folder: str, start_ray: Callable[[], None], actors: str) -> PairTexts:
    """Find and write the texts, unless that is done.

    Args:
        start_ray: called before tasks are; nothing is started where mistakes can be found without.
        actors: the flag.

    Raises:
        InputError: files that cannot be read, or rows that cannot be used.
        OutputError: other texts lie in `folder`.
        ShardError: some parts could not be written; the others are kept.
    """
    output = OutputFolder(folder, KIND, beside=(CORPUS, ANCHORS, _PLAN))
    output.check_usable()
    finished = output.manifest()
    if finished is not None and finished.about["stamps"] == request.stamps:
        output.check_lineage(request.lineage(finished.about["digests"]))
        return _opened(folder, finished)
    fresh = output.begun_lineage() is None
    with output.lock() as lock:
        try:
            if not request.small:
                start_ray()
            sides = _scanned(request)
            lineage = request.lineage([corpus.digest for _, corpus in sides])
            output.begin(lineage)
            start_ray()
            found = _Run(request, sides, output, lineage, lock, actors).manifest()
        except StRayError:
            if fresh and not fs.is_file(fs.join(folder, _PLAN)):
                output.clear()  # so that mended flags do not meet the old ones
            raise
        output.finish(found)
    return _opened(folder, found)


def _opened(folder: str, manifest: Manifest) -> PairTexts:
    corpus, anchors = (StoredTexts.open(fs.join(folder, side)) for side in (CORPUS, ANCHORS))
    digest = content_digest("".join(entry.digest for entry in (*corpus.entries, *anchors.entries)).encode())
    return PairTexts(corpus, anchors, digest, manifest.about)


def _scanned(request: TextRequest) -> list[tuple[ScanRequest, Corpus]]:
    """The corpus, if there is one, and the pairs."""
    sides = []
    if request.corpus is not None:
        with flags_of_a_corpus():
            sides.append((request.corpus, prepare_corpus(request.corpus)))
    with flags_of_pairs():
        sides.append((request.pairs, prepare_corpus(request.pairs)))
    return sides


@dataclass(frozen=True)
class _Run:
    """What is settled before the first task."""

    request: TextRequest
    sides: Sequence[tuple[ScanRequest, Corpus]]
    output: OutputFolder
    lineage: Lineage
    lock: OutputLock
    actors: str

    def manifest(self) -> Manifest:
        """Write the texts; what is to be published of them."""
        shards = numbered(
            [(Source(asked.spec, asked.on_bad_row), corpus.shards, corpus.rows) for asked, corpus in self.sides]
        )
        matches = fs.join(self.output.folder, STAGING)
        plan = self.output.settle(_PLAN, lambda: _joined(shards, matches))
        documents, anchors = ([Task(*task) for task in tasks] for tasks in plan[:2])
        counts = Counts(*plan[2])
        self._write(CORPUS, documents, shards, matches)
        self._write(ANCHORS, anchors, shards, matches)
        bad = [corpus.bad_rows for _, corpus in self.sides]
        first_of_pairs = len(shards) - len(self.sides[-1][1].shards)
        about = {
            "stamps": self.request.stamps,
            "digests": [corpus.digest for _, corpus in self.sides],
            "anchor_column": self.request.anchor,
            "positive_column": self.request.positive,
            **counts._asdict(),
            "documents": sum(task.rows for task in documents),
            "added": sum(task.rows for task in documents if task.shard >= first_of_pairs) if len(bad) > 1 else 0,
            "bad_documents": bad[0] if len(bad) > 1 else 0,
            "bad_pairs": bad[-1],
        }
        return Manifest(KIND, self.lineage, (), about)

    def _write(self, side: str, tasks: Sequence[Task], shards: Sequence[Shard], matches: str) -> None:
        output = OutputFolder(fs.join(self.output.folder, side), SIDE)
        if output.manifest() is not None:
            return
        how = CopyDocuments if side == CORPUS else CopyAnchors
        meter = Meter()
        stage = one_step(
            f"texts of {side}",
            [(task, shards[task.shard]) for task in tasks],
            [task.rows for task in tasks],
            how(matches, [shard.first_row for shard in shards]),
            meter,
            noun="texts",
            describe=lambda task: f"rows {task[1].first_row:,} to {task[1].first_row + task[1].plan.rows - 1:,}",
            actors=self.actors,
        )
        lineage = {**self.lineage, "side": side}
        result = run_stage(stage, output, output.begin(lineage), self.lock, meter)
        output.finish(Manifest(SIDE, lineage, result.entries))


def _joined(shards: Sequence[Shard], matches: str) -> Found:
    """See `find_distinct`. Raises InputError where no pair is left."""
    found = find_distinct(shards, matches)
    if not found.counts.anchors:
        raise InputError("no pair has both texts", "name files of pairs with --pairs")
    return found


@dataclass(frozen=True)
class _CopyTexts:
    """Makes a part of distinct texts.

    Attributes:
        folder: of the files of the tasks.
        first_rows: of all shards.
    """

    folder: str
    first_rows: Sequence[int]

    def __call__(self, task: tuple[Task, Shard]) -> Part:
        """The part, ready to be published. Raises InputError where the file has changed."""
        found, shard = task
        table = self._table(fs.join(self.folder, found.file), shard)
        return Part(_parquet(table), len(table), shard.first_row)

    def _table(self, file: str, shard: Shard) -> pa.Table:
        raise NotImplementedError

    def _ids(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(self.first_rows, np.int64)[places[:, 0]] + places[:, 1]


class CopyDocuments(_CopyTexts):
    """Makes a part of documents: see `_CopyTexts`."""

    def _table(self, file: str, shard: Shard) -> pa.Table:
        places = read_places(file, shard.number)
        texts = shard.read()
        return pa.table({"id": self._ids(places), "text": _at(texts.documents, texts.rows, places[:, 1], shard)})


class CopyAnchors(_CopyTexts):
    """Makes a part of anchors: see `_CopyTexts`."""

    def _table(self, file: str, shard: Shard) -> pa.Table:
        anchors = read_anchors(file, shard.number)
        texts = shard.read()
        bounds = np.concatenate([[0], np.cumsum(anchors.counts)]).astype(np.int32)
        return pa.table(
            {
                "id": self._ids(anchors.places),
                "text": _at(texts.anchors, texts.rows, anchors.places[:, 1], shard),
                "positives": pa.ListArray.from_arrays(pa.array(bounds), pa.array(self._ids(anchors.positives))),
                "own_text": pa.array(self._ids(anchors.own), mask=anchors.own[:, 0] < 0),
            }
        )


def _at(texts: Any, rows: np.ndarray, wanted: np.ndarray, shard: Shard) -> pa.LargeStringArray:
    """The texts of the `wanted` rows."""
    place = np.minimum(np.searchsorted(rows, wanted), max(len(rows) - 1, 0))
    if not len(rows) or (rows[place] != wanted).any():
        raise InputError(
            f"{shard.plan.segments[0].file.url} has other texts than it had before", "start again with another --work"
        )
    return texts.take(pa.array(place))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=_ROW_GROUP_ROWS, compression="zstd", use_dictionary=False)
    return sink.getvalue()
