"""Versions of a store and its index, of which one is the latest; readers find that by a small file.

    ROOT/v-20261122T080906Z/run.json        lineage, written first
    ROOT/v-20261122T080906Z/embeddings/     an embedding store
    ROOT/v-20261122T080906Z/index/          an index of it, where one is wanted
    ROOT/v-20261122T080906Z/report.html     the version as a page
    ROOT/v-20261122T080906Z/manifest.json   written last: the version is whole
    ROOT/latest                             the name of a whole version: one rename, or one PUT
    ROOT/lock.json                          while a job makes a version

Whoever is given `ROOT/latest/embeddings` looks once into which version that is, and from then on names only that one:
what it reads belongs together, wherever the pointer goes meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from st_ray.core.errors import OutputError
from st_ray.store import fs
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import MANIFEST
from st_ray.store.output import LOCK, RUN, OutputFolder

KIND = "version"
LATEST = "latest"
EMBEDDINGS, INDEX = "embeddings", "index"
PAGE = "report.html"
_FORMAT = "v-%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"v-[0-9]{8}T[0-9]{6}Z")
_MOST_BYTES = 64
"""Of a pointer; what is longer is something else."""


def staying(whole: Sequence[str], latest: str, keep: int) -> list[str]:
    """Of whole versions, given oldest first, the newest `keep` and the latest; oldest first."""
    return sorted({*whole[-keep:], latest})


def version_name(moment: datetime, others: Iterable[str]) -> str:
    """The name of a version begun at `moment` (in UTC); it sorts behind the `others`, whatever clock named those."""
    name, newest = moment.strftime(_FORMAT), max(others, default="")
    return name if name > newest else (datetime.strptime(newest, _FORMAT) + timedelta(seconds=1)).strftime(_FORMAT)


def is_version_name(name: str) -> bool:
    """Whether `version_name` gives such names."""
    if not _NAME.fullmatch(name):
        return False
    try:
        datetime.strptime(name, _FORMAT)
    except ValueError:
        return False
    return True


def read_pointer(url: str) -> str | None:
    """The name of the version that the file at `url` points to; None where there is no such file."""
    if url.startswith(("http://", "https://")):
        return None  # nobody writes versions there, and `latest` is common in addresses of downloads
    try:
        if (fs.size_of(url) or 0) > _MOST_BYTES:
            return None
        name = fs.read_bytes(url).decode("ascii").strip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, UnicodeDecodeError):
        return None
    return name if is_version_name(name) else None


def at_version(url: str, read: Callable[[str], str | None] = read_pointer) -> str:
    """`url` with a folder `latest` in it replaced by the version that it points to now; others are as they are.

    Args:
        read: see `read_pointer`; for several URLs that are to be of one version, one that remembers.
    """
    parts = url.split("/")
    for place, part in enumerate(parts[:-1]):
        if part == LATEST:
            parts[place] = read("/".join(parts[: place + 1])) or LATEST
    return "/".join(parts)


class Versions:
    """The driver's view of the folder ROOT while its job runs."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") if len(root) > 1 else root

    def check_usable(self) -> None:
        """Raise OutputError if versions cannot lie here; other things may lie beside them."""
        remedy = "name another folder with --output"
        if "://" in self.root and any(character in self.root for character in "*?["):
            # Drivers would take it for a pattern, and remove whatever matches.
            raise OutputError(f"{self.root} holds one of * ? [", remedy)
        try:
            names = fs.list_names(self.root)
        except NotADirectoryError as error:
            raise OutputError(f"{self.root} is a file", remedy) from error
        except PermissionError as error:
            raise OutputError(f"no permission to read {self.root}: {error}", remedy) from error
        if RUN in names or MANIFEST in names:
            raise OutputError(f"{self.root} is the output of a job, where versions cannot lie", remedy)
        if LATEST in names and read_pointer(self._pointer) is None:
            raise OutputError(f"{self._pointer} does not name a version, so st-ray has not written it", remedy)

    def lock(self) -> OutputLock:
        """The lock that keeps a second job away; use it in a `with`."""
        return OutputLock(fs.join(self.root, LOCK))

    def latest(self) -> str | None:
        """The name of the latest version; None where there is none yet.

        Raises:
            OutputError: the version that the pointer names is not there, or not whole.
        """
        name = read_pointer(self._pointer)
        if name is not None and not self.is_whole(name):
            raise OutputError(
                f"{self._pointer} names {name}, which is not there as a whole",
                "write the name of a version that is into it, or remove it to begin with a first version",
            )
        return name

    def names(self) -> list[str]:
        """The versions that jobs have begun here, whole or not, oldest first. Nothing else is ever touched."""
        return [name for name in self._dated() if _is_ours(self.folder(name))]

    def new_name(self, moment: datetime) -> str:
        """See `version_name`."""
        return version_name(moment, self._dated())

    def folder(self, name: str, within: str = "") -> str:
        """Where the version lies, or what is `within` it."""
        return fs.join(self.root, name, within) if within else fs.join(self.root, name)

    def output(self, name: str) -> OutputFolder:
        """The version as an output: its lineage and its manifest."""
        return OutputFolder(self.folder(name), KIND)

    def is_whole(self, name: str) -> bool:
        """Whether the version can be the latest."""
        return fs.exists(self.folder(name, MANIFEST)) and _is_ours(self.folder(name))

    def publish(self, name: str) -> None:
        """Make a whole version the latest."""
        fs.write_atomic(self._pointer, f"{name}\n".encode())

    def remove(self, name: str) -> None:
        """Remove a version.

        The manifest goes first and run.json last: a removal that is cut short leaves what is not whole, and still known
        to be ours. Whatever else lies in the folder stays.
        """
        fs.remove(self.folder(name, MANIFEST))
        for within in (INDEX, EMBEDDINGS):
            fs.remove(self.folder(name, within), recursive=True)
        fs.remove(self.folder(name, PAGE))
        fs.remove(self.folder(name, RUN))
        filesystem, path = fs.open_fs(self.folder(name))
        if fs.is_local(filesystem):
            with contextlib.suppress(OSError):  # something else is in it
                filesystem.rmdir(path)

    @property
    def _pointer(self) -> str:
        return fs.join(self.root, LATEST)

    def _dated(self) -> list[str]:
        return sorted(filter(is_version_name, fs.list_names(self.root)))


def newest_outputs(folder: str) -> list[str]:
    """What the newest version in `folder` consists of so far, one output a stage; of any other folder itself."""
    versions = Versions(folder)
    try:
        newest = versions.names()[-1:]
    except NotADirectoryError:
        newest = []
    stages = [versions.folder(name, within) for name in newest for within in (EMBEDDINGS, INDEX)]
    return [stage for stage in stages if fs.is_file(fs.join(stage, RUN))] or [folder]


def _is_ours(folder: str) -> bool:
    try:
        run = json.loads(fs.read_bytes(fs.join(folder, RUN)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return isinstance(run, dict) and run.get("kind") == KIND
