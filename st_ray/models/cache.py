"""This machine's cache of things that are costly to make: fetched models and examples, converted models."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from st_ray.core.errors import ModelError

_waited: dict[str, float] = defaultdict(float)


def waited_seconds(*kinds: str) -> float:
    """What this process has spent on making folders of these kinds, or on waiting for another process that did."""
    return sum(_waited[kind] for kind in kinds)


class CacheError(ModelError):
    """The cache cannot be written. Who can do without it goes on."""


def cached_folder(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `key` among those of `kind`; made by `make` where it is absent.

    A folder that exists is whole: it is made under another name and renamed. Of several processes that want the same
    one, one makes it while the others wait.

    Args:
        make: fills the empty folder that it is given.

    Raises:
        CacheError: the cache cannot be written.
    """
    target = _root() / kind / key
    if target.is_dir():
        return target
    begun = time.monotonic()
    with _writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(_lock_file(f"{kind}-{key}"))
        temporary = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=target.parent))
        lock.acquire()
    try:
        if not target.is_dir():
            make(temporary)
            temporary.rename(target)
    finally:
        lock.release()
        shutil.rmtree(temporary, ignore_errors=True)
        _waited[kind] += time.monotonic() - begun
    return target


def held_folder(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """As `cached_folder`, for what is large and soon of no use: it stays while a process lives that has asked for it.

    Whoever makes another one of its kind first removes those that no process holds any more, however it ended. So there
    is room for what is in use, and for what was used last.

    Args:
        kind: of such folders alone.
        key: without a dot.
        make: see `cached_folder`.

    Raises:
        CacheError: the cache cannot be written.
    """

    def make_alone(target: Path) -> None:
        _remove_unheld(kind)
        make(target)

    with _writing(_root() / kind):
        _hold(_held_file(kind, key))
    return cached_folder(kind, key, make_alone)


def _remove_unheld(kind: str) -> None:
    """Remove the folders of a kind, and what is left of those that were never finished, unless a process holds them."""
    import fcntl

    for folder in (_root() / kind).iterdir():
        key = folder.name.removeprefix(".").partition(".")[0]
        # It is held, or removed by another process just now, or another user's.
        with suppress(OSError), open(_held_file(kind, key), "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Cut short, the removal must leave no folder that looks whole.
            gone = folder.rename(folder.with_name(f".{key}.{uuid.uuid4().hex}"))
            shutil.rmtree(gone, ignore_errors=True)


@functools.cache
def _hold(file: Path) -> int:
    """Share the lock of a file until this process ends, however it does; others that hold it do not mind."""
    import fcntl  # Windows has none

    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"cannot write to the cache folder {folder}: {error}",
            "give the permission there, or set ST_RAY_CACHE to another folder",
        ) from error


def _lock_file(name: str) -> Path:
    """Where the file of a lock is, in a folder that is there."""
    folder = _root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _held_file(kind: str, key: str) -> Path:
    return _lock_file(f"{kind}-{key}.held")


def _root() -> Path:
    return Path(os.environ.get("ST_RAY_CACHE") or "~/.cache/st_ray").expanduser()
