"""One storage layer: atomic writes and plain reads on any fsspec URL (local paths, s3://, ...)."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from st_ray.core.errors import InputError, OutputError, StoreError, reason_of
from st_ray.store import local

# A single PUT is atomic on these; elsewhere a finished temporary file is renamed into place.
_ATOMIC_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory"}
_S3 = ("s3", "s3a")
_TRANSFERS = 10
"""Requests to S3 at once for one large object."""
_RANGE_BYTES = 50 << 20
"""What one request of a large object reads."""
_SIGNED = re.compile(
    r"(^|[&?])(x-amz-[a-z-]+|x-goog-[a-z-]+|awsaccesskeyid|signature|sig|[a-z_]*token|[a-z_]*secret|password)=",
    re.IGNORECASE,
)
"""Parameters of a URL's query that are secrets, or go with one."""
AGAIN = "; then run the same command again: what is committed is kept"
"""The end of a remedy."""
_ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
"""Errors that say what stands at a place, not that the store fails."""


def open_fs(url: str, *, brief: bool = False) -> tuple[Any, str]:
    """The file system of `url` and the path within it. Listings are never cached.

    Args:
        brief: requests are hardly tried again, and never wait for those of others.

    Raises:
        InputError: the URL's scheme is unknown or its driver is not installed, or it holds a password or a signature.
    """
    _refuse_secrets(url)
    if url.startswith(tuple(f"{protocol}://" for protocol in _S3)):
        from st_ray.store.s3 import open_s3  # it takes long to import

        return open_s3(url, brief)
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


def full_path(url: str) -> str:
    """`url` as other folders see it, for messages: a local path from the root on."""
    fs, path = open_fs(url)
    return path if is_local(fs) else url


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what the driver of a store raises when that fails, after all its tries, into one error that names `url`.

    That something is there or is not passes as it is, and so does every error of this machine's own file system.

    Raises:
        StoreError: the store refused, or did not answer.
    """
    try:
        yield
    except (*_ANSWERS, MemoryError):
        raise
    except Exception as error:  # each driver raises errors of its own
        if _is_here(url):
            raise
        raise _failed(url, error) from error


def failure_of(url: str, error: BaseException) -> StoreError | None:
    """What to raise for an error met while the object at `url` was read, if it is its store that failed; else None."""
    of_store = isinstance(error, ConnectionError) or (isinstance(error, OSError) and error.errno is not None)
    if _is_here(url) or not of_store or isinstance(error, (*_ANSWERS, PermissionError)):
        return None
    return _failed(url, error)


def read_bytes(url: str, *, brief: bool = False) -> bytes:
    """The whole content at `url`. Raises FileNotFoundError where there is none. `brief`: see `open_fs`."""
    fs, path = open_fs(url, brief=brief)
    with reaching(url):
        if not _is_s3(fs) or (size := fs.file_size(path)) <= _RANGE_BYTES:
            return fs.cat_file(path)
        starts = list(range(0, size, _RANGE_BYTES))
        ends = [*starts[1:], size]
        return b"".join(fs.cat_ranges([path] * len(starts), starts, ends, on_error="raise"))


def read_files(folder: str, names: Sequence[str]) -> list[bytes]:
    """The contents of files in `folder`, many at once; those that are gone are left out."""
    if not names:
        return []
    fs, path = open_fs(folder)
    with reaching(folder):
        contents = fs.cat_ranges([posixpath.join(path, name) for name in names], None, None, on_error="return")
        for content in contents:
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise content
    return [content for content in contents if isinstance(content, bytes)]


def exists(url: str) -> bool:
    """Whether a file or folder stands at `url`."""
    fs, path = open_fs(url)
    try:
        with reaching(url):
            fs.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_file(url: str) -> bool:
    """Whether a file stands at `url`. Of an object store it is one request, where `exists` may list."""
    return size_of(url) is not None


def size_of(url: str) -> int | None:
    """Bytes at `url`, or None where there is no file."""
    fs, path = open_fs(url)
    try:
        with reaching(url):
            return int(fs.file_size(path) if _is_s3(fs) else fs.info(path)["size"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_atomic(url: str, data: bytes, *, brief: bool = False) -> None:
    """Publish `data` at `url` whole or not at all; an older content is replaced.

    On a file system: a hidden temporary file beside the target, flushed to disk, then renamed. On an object
    store: one PUT of bytes that already lie in memory (or, above 100 MiB, several that one request makes an object
    of), since closing a half-written stream would publish it. `brief`: see `open_fs`.

    Raises:
        OutputError: the place cannot be written (permission, disk full); the cause is chained.
        StoreError: the store refused, or did not answer.
    """
    fs, path = open_fs(url, brief=brief)
    try:
        with reaching(url):
            if is_local(fs):
                local.write_whole(path, data)
            elif _is_s3(fs):
                fs.pipe_file(path, data, max_concurrency=_TRANSFERS)
            elif _protocols(fs) & _ATOMIC_PUT:
                fs.pipe_file(path, data)
            else:
                temporary = posixpath.join(posixpath.dirname(path), local.temporary_name(path))
                fs.makedirs(posixpath.dirname(path), exist_ok=True)
                fs.pipe_file(temporary, data)
                fs.mv(temporary, path)
    except OSError as error:
        raise cannot_write(url, error) from error


def create_exclusive(url: str, data: bytes) -> bool:
    """Publish `data` at `url` if nothing stands there yet; False where something else does. The first writer wins.

    On an object store it is True as well where the very same content stood there: it is then taken for our own, whose
    receipt was lost, so that the PUT was tried again.
    """
    fs, path = open_fs(url)
    if not is_local(fs):
        return _create_object(fs, path, url, data)
    try:
        local.create_whole(path, data)
    except FileExistsError:
        return False
    except OSError as error:
        raise cannot_write(url, error) from error
    return True


def remove(url: str, recursive: bool = False) -> None:
    """Remove the file (or, with `recursive`, the folder) at `url`; nothing there is fine."""
    fs, path = open_fs(url)
    with contextlib.suppress(FileNotFoundError), reaching(url):
        fs.rm(path, recursive=recursive)


def list_names(url: str) -> list[str]:
    """Base names of whatever lies directly in the folder `url`; [] where it is absent.

    Raises:
        NotADirectoryError: it is a file.
    """
    return [posixpath.basename(entry["name"].rstrip("/")) for entry in _entries(url)]


def file_sizes(url: str) -> dict[str, int]:
    """Bytes by base name of the files directly in the folder `url`, hidden ones left out; {} where it is absent."""
    try:
        entries = _entries(url)
    except NotADirectoryError:
        return {}
    sizes = {posixpath.basename(entry["name"].rstrip("/")): entry for entry in entries if entry["type"] == "file"}
    return {name: int(entry["size"]) for name, entry in sorted(sizes.items()) if name and not name.startswith(".")}


def list_files(url: str) -> list[str]:
    """Base names of the files directly in the folder `url`, sorted; hidden ones left out; [] where it is absent."""
    return list(file_sizes(url))


def list_folders(url: str) -> list[str]:
    """Base names of the folders directly in the folder `url`, sorted; hidden ones left out; [] where it is absent."""
    try:
        entries = _entries(url)
    except NotADirectoryError:
        return []
    names = {posixpath.basename(entry["name"].rstrip("/")) for entry in entries if entry["type"] == "directory"}
    return sorted(name for name in names if name and not name.startswith("."))


def cannot_write(url: str, error: Exception) -> OutputError:
    """What to raise where the local `url` cannot be written; a disk that is full is named."""
    if not local.is_full(error):
        return OutputError(f"cannot write {url}: {error}", "check the permission, the free space and the path")
    return OutputError(f"cannot write {url}: {local.full_disk(open_fs(url)[1])} ({error})", "make room there")


def _refuse_secrets(url: str) -> None:
    """Raise InputError for a URL with a secret in it, and do not repeat that: manifests and messages keep URLs."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return
    authority, _, query = rest.partition("/")[0], *rest.partition("?")[1:]
    # A secret of AWS may hold slashes; no bucket's name holds a colon, but that of an access point does.
    in_bucket = scheme in _S3 and ":" in authority and not authority.startswith("arn:")
    if in_bucket or ":" in authority.rpartition("@")[0] or _SIGNED.search(query):
        raise InputError(
            f"a URL of {scheme}:// holds a password, a key or a signature, which manifests and logs would keep",
            "leave it out, and give credentials by the environment, a profile or the machine's role",
        )


def _is_here(url: str) -> bool:
    """Whether it is of this machine's own file system."""
    return "://" not in url or url.startswith(("file:", "local:"))


def _failed(url: str, error: BaseException) -> StoreError:
    return StoreError(
        f"{url}: the store refuses or does not answer: {type(error).__name__}: {reason_of(error)}",
        "check the URL, the endpoint (AWS_ENDPOINT_URL), the credentials and the network" + AGAIN,
    )


def _is_s3(fs: Any) -> bool:
    return not _protocols(fs).isdisjoint(_S3)


def _entries(url: str) -> list[dict[str, Any]]:
    fs, path = open_fs(url)
    try:
        with reaching(url):
            entries = fs.ls(path, detail=True)
    except FileNotFoundError:
        return []
    if len(entries) == 1 and entries[0]["type"] == "file" and entries[0]["name"] == path.rstrip("/"):
        raise NotADirectoryError(f"{url} is a file")
    return entries


def _create_object(fs: Any, path: str, url: str, data: bytes) -> bool:
    try:
        with reaching(url):
            fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        pass
    except StoreError as error:
        # Some stores do not say which condition has failed; there is but one.
        if error.__cause__ is None or _code(error.__cause__) != "PreconditionFailed":
            raise
    else:
        return True
    try:
        return read_bytes(url) == data
    except FileNotFoundError:
        return False


def _code(error: BaseException) -> str:
    """The code in S3's answer that the driver's error was made of."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _protocols(fs: Any) -> set[str]:
    protocol = fs.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)
