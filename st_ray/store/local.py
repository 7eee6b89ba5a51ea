"""Files of this machine's own file system: written whole or not at all, and what a full disk says."""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import uuid

from st_ray.core.summary import human_bytes

_FULL = (errno.ENOSPC, errno.EDQUOT)


def temporary_name(path: str) -> str:
    """A name for what becomes the file `path`: hidden, and nobody else's."""
    return f".{posixpath.basename(path)}.{uuid.uuid4().hex[:12]}.tmp"


def write_whole(path: str, data: bytes) -> None:
    """Put `data` at `path` by a rename, after it has reached the disk. Raises OSError, and leaves nothing then."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, temporary_name(path))
    try:
        _write_synced(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_whole(path: str, data: bytes) -> None:
    """Put `data` at `path`, where nothing may stand yet. Raises FileExistsError where something does, or OSError."""
    # A hard link appears with its content complete, which O_EXCL followed by a write does not.
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, temporary_name(path))
    os.makedirs(folder, exist_ok=True)
    try:
        _write_synced(temporary, data)
        os.link(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def is_full(error: Exception) -> bool:
    """Whether the error, or the one that its text repeats, says that there is no room."""
    return any(os.strerror(code) in str(error) for code in _FULL)


def full_disk(path: str) -> str:
    """Names the disk of `path` and what is free there, for an error."""
    disk = os.path.dirname(os.path.abspath(path))
    while not os.path.ismount(disk):
        disk = os.path.dirname(disk)
    return f"the disk at {disk} is full, {human_bytes(shutil.disk_usage(disk).free)} are free"


def _write_synced(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
