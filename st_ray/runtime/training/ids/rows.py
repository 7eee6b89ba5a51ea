"""Shards of examples whose texts are staged: what a worker reads for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.training.ids.members import read_members
from st_ray.runtime.training.ids.wanted import IdCut, has_texts
from st_ray.runtime.training.rows import Rows
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import ShardEntry
from st_ray.store.staged_texts import find_staged_texts


@dataclass(frozen=True)
class IdShard:
    """Some examples: a task for whoever wants them as texts.

    Attributes:
        first_example: number of its first example among all.
        folder: of the examples by ids, of which it is one part, `entry`.
        query_files: parts of texts that may hold its queries.
        document_files: parts of texts that may hold its documents.
    """

    first_example: int
    cut: IdCut
    folder: str
    entry: ShardEntry
    query_files: tuple[str, ...]
    document_files: tuple[str, ...]

    @property
    def examples(self) -> int:
        """How many."""
        return self.cut.examples


@dataclass(frozen=True)
class IdRows:
    """All examples, in the order of the data.

    Attributes:
        tasks: each to be read by `read_id_rows`; none is empty.
        dropped: what was left out, by reason: rows of the data that are bad ones or make no example, and examples whose
            ids have no text.
        lineage: what identifies them.
    """

    tasks: tuple[IdShard, ...]
    dropped: Mapping[str, int]
    lineage: Lineage


def read_id_rows(task: IdShard) -> Rows:
    """The examples of a shard. Memory: its texts.

    Raises:
        InputError: a file is missing or damaged.
    """
    members = read_members(task.folder, task.entry)
    found = [find_staged_texts(files, task.cut.slot) for files in (task.query_files, task.document_files)]
    whole = [len(texts) for _, texts in found] == [task.cut.queries, task.cut.documents]
    if whole:
        query, document = has_texts(members, *(numbers for numbers, _ in found))
        members = members.take(query & document)
    if not whole or len(members.rows) != task.examples:
        raise InputError(
            f"{task.query_files[0]} and others lack texts of {task.entry.name}", "start the job again with --overwrite"
        )
    first, *others = members.members.T
    (query_numbers, queries), (document_numbers, documents) = found
    return Rows(
        first=_texts(queries, query_numbers, first),
        others=[_texts(documents, document_numbers, column) for column in others],
        labels=members.labels,
    )


def _texts(texts: Sequence[str], numbers: np.ndarray, wanted: np.ndarray) -> list[str]:
    """The text of each wanted number; `numbers` are those of the texts, ascending."""
    return [texts[at] for at in np.searchsorted(numbers, wanted).tolist()]
