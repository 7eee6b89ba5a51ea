"""Hits as jobs are given them: the folder of a job, in parts, or a single file by any tool."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from st_ray.store import fs
from st_ray.store.hits import open_hits, read_hits, read_hits_file
from st_ray.store.manifest import ShardEntry, content_digest
from st_ray.store.readers.files import read_blocks, reading


@dataclass(frozen=True)
class HitsSource:
    """Hits in parts.

    Attributes:
        url: the folder or the file.
        entries: the folder's parts; None: a single file, which is one part.
        digest: of the content.
    """

    url: str
    entries: tuple[ShardEntry, ...] | None
    digest: str

    @property
    def parts(self) -> int:
        """How many."""
        return 1 if self.entries is None else len(self.entries)

    def read(self, number: int) -> pa.Table:
        """The hits of one part, whole in memory."""
        return read_hits_file(self.url) if self.entries is None else read_hits(self.url, self.entries[number])

    def describe(self, number: int) -> str:
        """What to call a part in an error."""
        return self.url if self.entries is None else fs.join(self.url, "data", self.entries[number].name)


def open_hits_source(url: str) -> HitsSource:
    """Look at what lies at `url`; of a file all bytes are read, for its digest, of a folder the manifest alone.

    Raises:
        InputError: nothing is there, or it is a folder that no job finished, or not one of hits.
    """
    filesystem, path = fs.open_fs(url)
    with reading(url):
        is_folder = filesystem.isdir(path)
    if is_folder:
        entries = open_hits(url).entries
        return HitsSource(url, entries, content_digest("".join(entry.digest for entry in entries).encode()))
    digest = hashlib.blake2b(digest_size=16)
    for block in read_blocks(url):
        digest.update(block)
    return HitsSource(url, None, digest.hexdigest())
