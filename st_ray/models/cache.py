"""This machine's cache of things that are costly to make: fetched models, converted models."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from st_ray.core.errors import ModelError


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
    lock = FileLock(_root() / "locks" / f"{kind}-{key}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(lock.lock_file).parent.mkdir(exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=target.parent))
        lock.acquire()
    except OSError as error:
        raise CacheError(
            f"cannot write to the cache folder {target.parent}: {error}",
            "give the permission there, or set ST_RAY_CACHE to another folder",
        ) from error
    try:
        if not target.is_dir():
            make(temporary)
            temporary.rename(target)
    finally:
        lock.release()
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _root() -> Path:
    return Path(os.environ.get("ST_RAY_CACHE") or "~/.cache/st_ray").expanduser()
