"""From parts to one index file, in a task of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ray

from st_ray.core.errors import InputError
from st_ray.index.files import check_part, open_index, write_index
from st_ray.index.merge import merge_in_memory
from st_ray.index.merge_disk import merge_on_disk
from st_ray.index.output import MERGED, TRAINED
from st_ray.index.query import keep_parameter
from st_ray.index.spec import IndexSpec
from st_ray.runtime.pipeline import result_of
from st_ray.store import fs
from st_ray.store.manifest import ShardEntry


def join_parts(folder: str, entries: Sequence[ShardEntry], spec: IndexSpec, merge: str, parameter: int | None) -> bool:
    """Make index.faiss of the parts unless that is there already or not wanted; whether there is one.

    Args:
        parameter: nprobe or efSearch that whoever opens the file searches with by default.

    Raises:
        InputError: a part is missing, short or damaged; it is named.
    """
    if merge == "no":
        return False
    if not fs.is_file(fs.join(folder, MERGED)):
        result_of(ray.remote(_join).options(num_cpus=1).remote(folder, entries, spec, merge, parameter))
    return True


def _join(folder: str, entries: Sequence[ShardEntry], spec: IndexSpec, merge: str, parameter: int | None) -> None:
    files = [(fs.join(folder, "data", entry.name), entry.rows) for entry in entries]
    target = fs.join(folder, MERGED)
    if merge == "disk":
        trained = fs.read_bytes(fs.join(folder, TRAINED))
        found = merge_on_disk(trained, [url for url, _ in files], target, parameter)
        _check_all_there(folder, found, files)
        return

    def parts() -> Iterator[Any]:
        for url, rows in files:
            index = open_index(url)
            check_part(index, spec, rows, url)
            yield index

    merged = merge_in_memory(parts())
    _check_all_there(folder, merged.ntotal, files)
    if parameter is not None:
        keep_parameter(merged, parameter)
    write_index(merged, target)


def _check_all_there(folder: str, found: int, files: Sequence[tuple[str, int]]) -> None:
    wanted = sum(rows for _, rows in files)
    if found != wanted:
        raise InputError(f"{folder}: the joined index holds {found:,} vectors, its parts {wanted:,}", "build it again")
