"""Bytes of input files: streams, seekable sources, change stamps, and errors that name the file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import zstandard

from st_ray.core.errors import InputError, StRayError
from st_ray.store.fs import failure_of, is_local, open_fs
from st_ray.store.readers.spec import SourceFile

BLOCK_BYTES = 512 << 10
# Compressed input is fed in small pieces, since a piece may grow a hundredfold.
_PIECE_BYTES = 128 << 10
# What one request to an object store fetches.
_FETCH_BYTES = 4 << 20


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn whatever goes wrong while the file at `url` is read into an InputError that names it, or a StoreError."""
    try:
        yield
    except StRayError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file", "check the path; it must be visible from every node") from error
    except PermissionError as error:
        raise InputError(f"{url}: permission denied", "let the user that runs the job read it") from error
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, pa.ArrowException) as error:
        wrong = InputError(f"{url}: cannot be read: {error}", "check that the file is whole and its store up")
        raise failure_of(url, error) or wrong from error
    except Exception as error:
        if not type(error).__module__.startswith(("botocore", "aiohttp", "fsspec")):
            raise
        raise InputError(f"{url}: the store does not answer: {error}", "check endpoint and credentials") from error


def stat(fs: Any, path: str) -> dict[str, Any] | None:
    """The file system's record of `path`, or None where nothing stands there.

    Not `fs.exists`, which takes a refused permission for absence.
    """
    with reading(path if is_local(fs) else fs.unstrip_protocol(path)):
        try:
            return dict(fs.info(path))
        except (FileNotFoundError, NotADirectoryError):
            return None


def stamp_of(fs: Any, path: str, info: dict[str, Any]) -> str:
    """A text that changes with the content of the file: see `SourceFile.stamp`."""
    if is_local(fs):
        return str(os.stat(path).st_mtime_ns)
    if "ETag" in info:
        return str(info["ETag"]).strip('"')
    # Listings and single look-ups word their times differently: only the latter are compared.
    details = fs.info(path)
    return next((str(details[key]) for key in ("LastModified", "mtime", "updated", "created") if key in details), "")


def verify_unchanged(file: SourceFile) -> None:
    """Raise InputError where the file is gone, or is no longer the one that was resolved."""
    fs, path = open_fs(file.url)
    with reading(file.url):
        info = fs.info(path)
        size, stamp = int(info["size"]), stamp_of(fs, path, info)
    if (size, stamp) != (file.size, file.stamp):
        raise InputError(
            f"{file.url}: changed since it was scanned: {file.size} bytes, stamp {file.stamp} then; "
            f"{size} bytes, stamp {stamp} now",
            "leave the inputs alone while a job runs; start it again with --overwrite",
        )


def open_table(url: str, ahead: bool) -> pa.NativeFile:
    """A seekable Arrow source: a memory map of a local file, else ranged reads of the store's object.

    `ahead`: it is read front to back in small pieces, so that each request should fetch more than was asked for.
    """
    fs, path = open_fs(url)
    with reading(url):
        if is_local(fs):
            return pa.memory_map(path)
        cache = "readahead" if ahead else "none"
        return pa.PythonFile(fs.open(path, "rb", block_size=_FETCH_BYTES, cache_type=cache), mode="r")


def column_buffer_bytes(url: str) -> int:
    """How much of a Parquet column chunk to fetch at once; 0: memory-mapped, nothing is fetched."""
    return 0 if is_local(open_fs(url)[0]) else _FETCH_BYTES


def read_blocks(url: str, compression: str = "", start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The decompressed bytes [start, end) of the file, in blocks of about BLOCK_BYTES.

    `end` None: to the end. A compressed file has no random access: it is read from its beginning.

    Raises:
        InputError: the file is missing, unreadable, or damaged (checksums and cut-off ends are noticed).
    """
    with reading(url):
        if compression:
            blocks = _regroup(_decompress(_raw(url, 0, None, _PIECE_BYTES), _ENGINES[compression]))
            yield from between(blocks, start, end)
        else:
            yield from _raw(url, start, end, BLOCK_BYTES)


def _raw(url: str, start: int, end: int | None, block_bytes: int) -> Iterator[bytes]:
    fs, path = open_fs(url)
    options = {} if is_local(fs) else {"cache_type": "none"}
    fetch = _FETCH_BYTES if options else block_bytes
    with fs.open(path, "rb", **options) as file:
        file.seek(start)
        while end is None or start < end:
            block = file.read(fetch if end is None else min(fetch, end - start))
            if not block:
                return
            start += len(block)
            for at in range(0, len(block), block_bytes):
                yield block[at : at + block_bytes]


def _decompress(pieces: Iterable[bytes], engine: Callable[[], Any]) -> Iterator[bytes]:
    """Decompress members (gzip) or frames (zstd) that stand one behind another."""
    member = None
    for piece in pieces:
        while piece:
            if member is None:
                # gzip files may be padded with zeros; no member and no frame begins with one.
                piece = piece.lstrip(b"\0")
                if not piece:
                    break
                member = engine()
            yield member.decompress(piece)
            if not member.eof:
                break
            piece, member = member.unused_data, None
    if member is not None:
        raise EOFError("the compressed data ends too early")


def _gzip_engine() -> Any:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


def _zstd_engine() -> Any:
    return zstandard.ZstdDecompressor().decompressobj()


_ENGINES: dict[str, Callable[[], Any]] = {"gz": _gzip_engine, "zst": _zstd_engine}


def _regroup(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of at least BLOCK_BYTES, but for the last."""
    group: list[bytes] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            yield b"".join(group)
            group, size = [], 0
    if size:
        yield b"".join(group)


def between(blocks: Iterable[bytes], start: int, end: int | None = None) -> Iterator[bytes]:
    """The bytes [start, end) of the stream."""
    at = 0
    for block in blocks:
        part = block[max(0, start - at) : None if end is None else max(0, end - at)]
        at += len(block)
        if part:
            yield part
        if end is not None and at >= end:
            return
