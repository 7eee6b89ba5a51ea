"""From parts to one index file, in a task of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ray

from st_ray.index.files import check_part, open_index, write_index
from st_ray.index.merge import merge_in_memory
from st_ray.index.merge_disk import merge_on_disk
from st_ray.index.output import MERGED, TRAINED
from st_ray.index.spec import IndexSpec
from st_ray.runtime.pipeline import result_of
from st_ray.store import fs
from st_ray.store.manifest import ShardEntry


def join_parts(folder: str, entries: Sequence[ShardEntry], spec: IndexSpec, merge: str) -> bool:
    """Make index.faiss of the parts unless that is there already or not wanted; whether there is one.

    Raises:
        InputError: a part is missing, short or damaged; it is named.
    """
    if merge == "no":
        return False
    if not fs.exists(fs.join(folder, MERGED)):
        result_of(ray.remote(_join).options(num_cpus=1).remote(folder, entries, spec, merge))
    return True


def _join(folder: str, entries: Sequence[ShardEntry], spec: IndexSpec, merge: str) -> None:
    files = [(fs.join(folder, "data", entry.name), entry.rows) for entry in entries]
    if merge == "disk":
        merge_on_disk(fs.read_bytes(fs.join(folder, TRAINED)), [url for url, _ in files], fs.join(folder, MERGED))
        return

    def parts() -> Iterator[Any]:
        for url, rows in files:
            index = open_index(url)
            check_part(index, spec, rows, url)
            yield index

    write_index(merge_in_memory(parts()), fs.join(folder, MERGED))
