"""Index files: faiss's own format, written whole or not at all, and read with errors that name the file."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.index.library import is_binary, load_faiss, reason
from st_ray.index.spec import IndexSpec
from st_ray.index.traits import read_traits
from st_ray.store import fs

_BINARY_MAGIC = b"IB"
"""How a file of an index of bits begins, and no other."""


def index_bytes(index: Any) -> bytes:
    """`index` as a file; the same as `faiss.write_index` writes."""
    faiss = load_faiss()
    array = faiss.serialize_index_binary(index) if is_binary(index) else faiss.serialize_index(index)
    return bytes(array)


def index_from_bytes(data: bytes, where: str) -> Any:
    """The inverse of `index_bytes`; `where` names it in errors.

    Raises:
        InputError: `data` is no index file, or a part of one.
    """
    faiss = load_faiss()
    read = faiss.deserialize_index_binary if data[:2] == _BINARY_MAGIC else faiss.deserialize_index
    try:
        return read(np.frombuffer(data, np.uint8))
    except (RuntimeError, MemoryError) as error:
        raise _unreadable(where, error) from error


def write_index(index: Any, url: str) -> None:
    """Publish `index` at `url`, whole or not at all. On a file system, no copy is made in memory.

    Raises:
        OutputError: the place cannot be written; the cause is chained.
    """
    faiss = load_faiss()
    filesystem, path = fs.open_fs(url)
    if not fs.is_local(filesystem):
        fs.write_atomic(url, index_bytes(index))
        return
    write = faiss.write_index_binary if is_binary(index) else faiss.write_index
    try:
        with publishing(path) as temporary, open(temporary, "wb") as file:
            # Left to itself, faiss cuts a file short where the disk is full, and says nothing.
            write(index, faiss.PyCallbackIOWriter(file.write))
    except (RuntimeError, OSError) as error:
        raise fs.cannot_write(url, error) from error


def open_index(url: str, mmap: bool = False) -> Any:
    """The index in the file at `url`.

    Args:
        mmap: leave inverted lists in the file and read those that a search visits; for local files. Searches are as
            quick as the disk, and the index cannot be added to. Indexes without inverted lists are read all the same.

    Raises:
        InputError: there is no such file, or it is damaged or cut short; it is named. What a changed byte within the
            codes does to the scores, only the digest in the manifest can tell.
    """
    faiss = load_faiss()
    filesystem, path = fs.open_fs(url)
    try:
        if not fs.is_local(filesystem):
            return index_from_bytes(fs.read_bytes(url), url)
        with open(path, "rb") as file:
            binary = file.read(2) == _BINARY_MAGIC
        return (faiss.read_index_binary if binary else faiss.read_index)(path, faiss.IO_FLAG_MMAP if mmap else 0)
    except FileNotFoundError:
        raise InputError(f"there is no index at {url}", "check the path, or build it with jobs.build_index") from None
    except (RuntimeError, MemoryError, OSError) as error:
        raise _unreadable(url, error) from error


def check_part(index: Any, spec: IndexSpec, rows: int, where: str) -> None:
    """Refuse a part that is not what its manifest says: an index of `spec` with `rows` vectors.

    Raises:
        InputError: it holds fewer or more vectors, or others than `spec` describes; `where` names it.
    """
    remedy = "build the index again with jobs.build_index --overwrite"
    kind = f"{spec.factory} for {'bits' if spec.binary else spec.similarity} of {spec.faiss_dimension} dimensions"
    if _kind(index) != _kind(spec.empty()):
        raise InputError(f"{where} is not an index {kind}", remedy)
    if index.ntotal != rows:
        difference = "is short" if index.ntotal < rows else "is not of these embeddings"
        raise InputError(f"{where} {difference}: it holds {index.ntotal} vectors, its manifest says {rows}", remedy)


def _kind(index: Any) -> tuple[Any, ...]:
    """What an index has in common with an empty one of the same recipe; the names of classes differ with their age."""
    traits = read_traits(index)
    return index.d, index.metric_type, is_binary(index), traits.nlist, traits.search_parameter, traits.vector_bytes


@contextlib.contextmanager
def publishing(path: str) -> Iterator[str]:
    """The name of a file beside `path` that becomes `path` when the block is left, and goes away when it fails."""
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _unreadable(where: str, error: BaseException) -> InputError:
    if isinstance(error, MemoryError):
        message = f"{where} is damaged, or an index larger than memory"
    else:
        message = f"{where} is not a whole index file: {reason(error) if isinstance(error, RuntimeError) else error}"
    return InputError(message, "build the index again with jobs.build_index")
