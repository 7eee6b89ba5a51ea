"""Compressed text re-cut while it is scanned: it cannot be sought, so its records go into chunk files that need not be.

Chunk k of a file holds its rows [k * rows, (k + 1) * rows), byte for byte as they stood there, zstd-compressed. Names
and content follow from the file and the cut alone: any number of scans write the same chunks, each once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import zstandard

from st_ray.store.fs import exists, join, write_atomic
from st_ray.store.readers.files import read_blocks
from st_ray.store.readers.records import Records
from st_ray.store.readers.spec import ReadSpec, SourceFile

_CHUNK_NAME = re.compile(r"\.?[0-9a-f]{32}-\d{6}\.zst(\..+\.tmp)?")


@dataclass(frozen=True)
class Chunks:
    """Where the chunks of one file lie, and how many rows each holds (the last one may hold fewer)."""

    prefix: str
    rows: int

    def url(self, number: int) -> str:
        """Where chunk `number` lies."""
        return f"{self.prefix}-{number:06d}.zst"


def chunks_of(file: SourceFile, spec: ReadSpec, staging: str, rows: int) -> Chunks:
    """The chunks of `file` in the folder `staging`, named after everything that decides what they hold."""
    what = [file.url, file.format, file.compression, file.size, file.stamp, spec.columns, spec.quotes, rows]
    key = hashlib.blake2b(json.dumps(what).encode(), digest_size=16).hexdigest()
    return Chunks(join(staging, key), rows)


def is_chunk(name: str) -> bool:
    """Whether a file is called as chunks are, or as what a killed writer leaves of one."""
    return bool(_CHUNK_NAME.fullmatch(name))


def read_chunks(chunks: Chunks, first: int, last: int) -> Iterator[bytes]:
    """The bytes of chunks first to last, both included: a stream that begins and ends at a record."""
    for number in range(first, last + 1):
        yield from read_blocks(chunks.url(number), "zst")


class ChunkWriter:
    """Takes a file's records in order and publishes chunk after chunk. Memory: one compressed chunk."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._number = -1
        self._room = 0
        self._packer: zstandard.ZstdCompressionObj | None = None
        self._packed: list[bytes] = []

    def add(self, records: Records) -> None:
        """Append the records."""
        view = memoryview(records.data)
        at = 0
        while at < len(records):
            if self._room == 0:
                self.close()
                self._begin()
            end = min(at + self._room, len(records))
            if self._packer is not None:
                stop = records.used if end == len(records) else int(records.starts[end])
                self._packed.append(self._packer.compress(view[int(records.starts[at]) : stop]))
            self._room -= end - at
            at = end

    def close(self) -> None:
        """Publish the chunk that is being written, if there is one."""
        if self._packer is not None:
            write_atomic(self._chunks.url(self._number), b"".join([*self._packed, self._packer.flush()]))
        self._packer, self._packed = None, []

    def _begin(self) -> None:
        self._number += 1
        self._room = self._chunks.rows
        if not exists(self._chunks.url(self._number)):
            self._packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
