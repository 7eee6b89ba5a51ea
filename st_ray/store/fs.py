"""One storage layer: atomic writes and plain reads on any fsspec URL (local paths, s3://, ...)."""

from __future__ import annotations

import contextlib
import os
import posixpath
import uuid
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from st_ray.core.errors import InputError, OutputError

# A single PUT is atomic on these; elsewhere a finished temporary file is renamed into place.
_ATOMIC_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory"}


def open_fs(url: str) -> tuple[Any, str]:
    """The file system of `url` and the path within it. Listings are never cached.

    Raises:
        InputError: the URL's scheme is unknown or its driver is not installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(os.path.expanduser(url), use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise InputError(
            f"cannot open {url!r}: {error}", "use a local path, or a URL whose fsspec driver is installed (s3://…)"
        ) from error
    return fs, path


def is_local(fs: Any) -> bool:
    """Whether `fs` is this machine's own file system."""
    return isinstance(fs, LocalFileSystem)


def join(url: str, *parts: str) -> str:
    """`url` with `parts` appended, with forward slashes."""
    return posixpath.join(url, *parts)


def read_bytes(url: str) -> bytes:
    """The whole content at `url`. Raises FileNotFoundError where there is none."""
    fs, path = open_fs(url)
    return fs.cat_file(path)


def exists(url: str) -> bool:
    """Whether a file or folder stands at `url`."""
    fs, path = open_fs(url)
    return fs.exists(path)


def size_of(url: str) -> int | None:
    """Bytes at `url`, or None where there is no file."""
    fs, path = open_fs(url)
    try:
        return int(fs.info(path)["size"])
    except FileNotFoundError:
        return None


def write_atomic(url: str, data: bytes) -> None:
    """Publish `data` at `url` whole or not at all; an older content is replaced.

    On a file system: a hidden temporary file beside the target, flushed to disk, then renamed. On an object
    store: one PUT of bytes that already lie in memory, since closing a half-written stream would publish it.

    Raises:
        OutputError: the place cannot be written (permission, disk full); the cause is chained.
    """
    fs, path = open_fs(url)
    try:
        if is_local(fs):
            _write_local(path, data)
        elif _protocols(fs) & _ATOMIC_PUT:
            fs.pipe_file(path, data)
        else:
            temporary = posixpath.join(posixpath.dirname(path), _temporary_name(path))
            fs.makedirs(posixpath.dirname(path), exist_ok=True)
            fs.pipe_file(temporary, data)
            fs.mv(temporary, path)
    except OSError as error:
        raise _cannot_write(url, error) from error


def create_exclusive(url: str, data: bytes) -> bool:
    """Publish `data` at `url` if nothing stands there yet; False where something does. The first writer wins."""
    fs, path = open_fs(url)
    try:
        if is_local(fs):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # A hard link appears with its content complete, which O_EXCL followed by a write does not.
            temporary = os.path.join(os.path.dirname(path), _temporary_name(path))
            try:
                _write_synced(temporary, data)
                os.link(temporary, path)
            finally:
                if os.path.exists(temporary):
                    os.unlink(temporary)
        else:
            fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        raise _cannot_write(url, error) from error
    return True


def remove(url: str, recursive: bool = False) -> None:
    """Remove the file (or, with `recursive`, the folder) at `url`; nothing there is fine."""
    fs, path = open_fs(url)
    with contextlib.suppress(FileNotFoundError):
        fs.rm(path, recursive=recursive)


def list_files(url: str) -> list[str]:
    """Base names of the files directly in the folder `url`, sorted; hidden ones left out; [] where it is absent."""
    fs, path = open_fs(url)
    try:
        entries = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    names = (posixpath.basename(entry["name"].rstrip("/")) for entry in entries if entry["type"] == "file")
    return sorted(name for name in names if name and not name.startswith("."))


def _cannot_write(url: str, error: OSError) -> OutputError:
    return OutputError(f"cannot write {url}: {error}", "check the permission, the free space and the path")


def _protocols(fs: Any) -> set[str]:
    protocol = fs.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)


def _temporary_name(path: str) -> str:
    return f".{posixpath.basename(path)}.{uuid.uuid4().hex[:12]}.tmp"


def _write_synced(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_local(path: str, data: bytes) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, _temporary_name(path))
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
