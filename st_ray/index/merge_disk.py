"""Parts with inverted lists become one file on disk, list by list, in the memory of one list.

faiss writes the lists of an index at the end of its file: a mark, their number and the bytes of a code, how many
vectors each one has, and then for list after list its codes and its int64 ids. What stands before them depends on the
training and the number of vectors alone. So the parts of one training differ only there, and a merged file is that
head with the lists joined: byte for byte the file of the index that was never cut. It is one file, without a second
one for the lists whose name it would have to hold, and can be moved, uploaded, read (`faiss.read_index`) and mapped
(`faiss.IO_FLAG_MMAP`) like any other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.files import index_bytes, index_from_bytes, open_index, publishing
from st_ray.index.library import ivf_layer, layers
from st_ray.index.query import keep_parameter
from st_ray.index.traits import read_traits
from st_ray.store import fs

_MARK = b"ilar"
_ALL, _SOME = b"full", b"sprs"
_PREFIX_BYTES = 32
_ID_BYTES = 8


def merge_on_disk(trained: bytes, paths: Sequence[str], target: str, parameter: int | None = None) -> int:
    """Write the vectors of the parts at `paths`, in that order, into one index file; the number of vectors.

    Args:
        trained: the empty index that all parts were filled into, as bytes.
        paths: local files that `index_bytes`, `write_index` or faiss wrote.
        target: a local file; an older one is replaced.
        parameter: nprobe that whoever opens the file searches with by default; faiss's own is 1.

    Raises:
        ConfigError: the index has no inverted lists, or more than plain ones (fast-scan codes); or a file that is not
            local.
        InputError: a part is missing, damaged, cut short or of another training; it is named.
        OutputError: `target` cannot be written.
    """
    shell, path = _Shell.of(trained), _local(target)
    parts = [_Part.open(_local(part), shell) for part in paths]
    sizes = sum((part.sizes for part in parts), np.zeros(shell.nlist, np.int64))
    total = int(sizes.sum())
    if parameter is not None:
        keep_parameter(shell.index, parameter)
    try:
        with publishing(path) as temporary:
            with open(temporary, "wb", buffering=1 << 20) as file:
                file.write(shell.head(total))
                file.write(_list_table(sizes, shell.code_bytes))
                _write_lists(file, parts, shell)
            if open_index(temporary, mmap=True).ntotal != total:
                raise InputError(f"{target} does not hold the {total} vectors of its parts", "merge in memory")
    except OSError as error:
        raise fs.cannot_write(target, error) from error
    return total


@dataclass(frozen=True)
class _Shell:
    """The empty index that parts were filled into."""

    index: Any
    nlist: int
    code_bytes: int
    head_bytes: int

    @classmethod
    def of(cls, trained: bytes) -> _Shell:
        index = index_from_bytes(trained, "the trained index")
        kind = type(layers(index)[-1]).__name__
        if not read_traits(index).mergeable_on_disk:
            raise ConfigError(
                f"{kind} cannot be merged on disk",
                "keep the parts, merge in memory, or use an IVF factory with Flat, SQ or PQ codes",
            )
        ivf = ivf_layer(index)
        shell = cls(index, int(ivf.nlist), int(ivf.code_size), len(trained) - _PREFIX_BYTES)
        if not trained.endswith(_list_table(np.zeros(shell.nlist, np.int64), shell.code_bytes)):
            raise ConfigError(f"this release of faiss writes {kind} in an unknown way", "merge in memory")
        return shell

    def head(self, rows: int) -> bytes:
        """What stands before the lists in the file of an index of `rows` vectors."""
        self.index.ntotal = ivf_layer(self.index).ntotal = rows
        try:
            return index_bytes(self.index)[:-_PREFIX_BYTES]
        finally:
            self.index.ntotal = ivf_layer(self.index).ntotal = 0


@dataclass(frozen=True)
class _Part:
    """A filled part, mapped: `sizes` and `starts` are the vectors of each list and the byte at which it begins."""

    data: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray

    @classmethod
    def open(cls, path: str, shell: _Shell) -> _Part:
        """Raises InputError if the file is not, to the byte, a filled copy of `shell`."""
        try:
            if not os.path.getsize(path):
                raise InputError(f"{path} is empty", "build the part again")
            data = np.memmap(path, np.uint8, mode="r")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error}", "build the part again") from error
        sizes, first = _read_list_table(data, shell, path)
        lengths = sizes * (shell.code_bytes + _ID_BYTES)
        if first + int(lengths.sum()) != len(data):
            raise InputError(
                f"{path} has {len(data)} bytes, its lists need {first + int(lengths.sum())}", "build the part again"
            )
        if data[: shell.head_bytes].tobytes() != shell.head(int(sizes.sum())):
            raise InputError(
                f"{path} was not filled into a copy of the same trained index", "build all parts again in one run"
            )
        return cls(data, sizes, first + np.cumsum(lengths) - lengths)


def _local(url: str) -> str:
    filesystem, path = fs.open_fs(url)
    if not fs.is_local(filesystem):
        raise ConfigError(f"{url} is not in a file system", "merge in memory, or in a local folder")
    return path


def _list_table(sizes: np.ndarray, code_bytes: int) -> bytes:
    """The beginning of the lists: as faiss does, with the sizes of all of them if more than half hold a vector."""
    filled = np.flatnonzero(sizes)
    everything = len(filled) > len(sizes) // 2
    entries = sizes if everything else np.stack([filled, sizes[filled]], axis=1).reshape(-1)
    head = np.array([len(sizes), code_bytes], "<u8").tobytes()
    count = np.array([len(entries)], "<u8").tobytes()
    return b"".join([_MARK, head, _ALL if everything else _SOME, count, entries.astype("<u8").tobytes()])


def _read_list_table(data: np.ndarray, shell: _Shell, path: str) -> tuple[np.ndarray, int]:
    """The inverse of `_list_table`: int64 `[nlist]`, and the byte after it."""
    broken = InputError(f"{path} is cut short, or not a part of this index", "build the part again")
    begin = shell.head_bytes
    head = data[begin : begin + _PREFIX_BYTES].tobytes()
    expected = _MARK + np.array([shell.nlist, shell.code_bytes], "<u8").tobytes()
    if len(head) != _PREFIX_BYTES or not head.startswith(expected):
        raise broken
    how, count = head[20:24], int.from_bytes(head[24:32], "little")
    first = begin + _PREFIX_BYTES + 8 * count
    most = {_ALL: shell.nlist, _SOME: 2 * shell.nlist}.get(how, -1)
    if first > len(data) or count > most:
        raise broken
    # No list is longer than the file; larger numbers would overflow when they are turned into bytes.
    entries = np.minimum(data[begin + _PREFIX_BYTES : first].view("<u8"), np.uint64(len(data))).astype(np.int64)
    if how == _ALL and count == shell.nlist:
        return entries, first
    if how == _ALL or count % 2 or (entries[::2] >= shell.nlist).any():
        raise broken
    sizes = np.zeros(shell.nlist, np.int64)
    sizes[entries[::2]] = entries[1::2]
    return sizes, first


def _write_lists(file: BinaryIO, parts: Sequence[_Part], shell: _Shell) -> None:
    for number in range(shell.nlist):
        here = [part for part in parts if part.sizes[number]]
        for part in here:
            start = part.starts[number]
            file.write(part.data[start : start + part.sizes[number] * shell.code_bytes].data)
        for part in here:
            start = part.starts[number] + part.sizes[number] * shell.code_bytes
            file.write(part.data[start : start + part.sizes[number] * _ID_BYTES].data)
