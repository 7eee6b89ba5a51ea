"""A set of hits as a user names it: the folder of a job, part by part, or one file of hits by any tool."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.hits import open_hits, read_hits, read_hits_file
from st_ray.store.manifest import MANIFEST, ShardEntry, content_digest
from st_ray.store.readers.files import read_blocks, reading
from st_ray.store.readers.tables import open_parquet
from st_ray.store.tabular import kind_of


@dataclass(frozen=True)
class HitsPart:
    """What is read at once: a part of a job's folder, or the whole of a file (`entry` is None)."""

    url: str
    rows: int
    entry: ShardEntry | None = None

    @property
    def place(self) -> str:
        """What to call it in an error."""
        return self.url if self.entry is None else fs.join(self.url, "data", self.entry.name)

    def read(self) -> pa.Table:
        """The hits: see `read_hits` and `read_hits_file`."""
        return read_hits_file(self.url) if self.entry is None else read_hits(self.url, self.entry)


@dataclass(frozen=True)
class HitSet:
    """Hits in parts.

    Attributes:
        digest: of the content; of a file's after decompression.
        rows: of a text file its lines, blank ones included.
    """

    url: str
    digest: str
    parts: tuple[HitsPart, ...]

    @property
    def entries(self) -> tuple[ShardEntry, ...] | None:
        """The parts of a folder; None for a single file."""
        entries = tuple(part.entry for part in self.parts if part.entry is not None)
        return entries or None

    @property
    def rows(self) -> int:
        """Hits in all parts."""
        return sum(part.rows for part in self.parts)


def open_hit_set(url: str) -> HitSet:
    """The set at `url`. A file is read through once, block by block; a folder's parts are not opened.

    Raises:
        InputError: nothing is there, or a folder without finished hits, or a file that cannot be read or holds none.
    """
    filesystem, path = fs.open_fs(url)
    with reading(url):
        # An object store lists to tell a folder: where there is a manifest, it need not.
        is_folder = fs.is_file(fs.join(url, MANIFEST)) or filesystem.isdir(path)
    found = _open_folder(url) if is_folder else _open_file(url)
    if not found.rows:
        raise InputError(f"{url} holds no hits", "search first, or name other --hits")
    return found


def _open_folder(url: str) -> HitSet:
    entries = open_hits(url).entries
    digest = content_digest("".join(entry.digest for entry in entries).encode())
    return HitSet(url, digest, tuple(HitsPart(url, entry.rows, entry) for entry in entries))


def _open_file(url: str) -> HitSet:
    kind, compression = kind_of(url)
    digest, lines, end = hashlib.blake2b(digest_size=16), 0, b"\n"
    for block in read_blocks(url, compression):
        digest.update(block)
        lines += block.count(b"\n")
        end = block[-1:]
    rows = lines + (end != b"\n")
    if kind == "parquet":
        with open_parquet(url) as source:
            rows = source.metadata.num_rows
    return HitSet(url, digest.hexdigest(), (HitsPart(url, rows),))
