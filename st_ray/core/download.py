"""One file from the web to this machine, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Any, BinaryIO

from st_ray.core.errors import InputError, OutputError

_CHUNK_BYTES = 1 << 16
_PATIENCE_SECONDS = 30.0
"""How long a server may take to answer, and to send its next bytes."""


def http_get(url: str, path: str | os.PathLike[str]) -> None:
    """Download `url` to the file `path`, with a progress bar. Redirects are followed, folders are made.

    The content goes to a hidden file beside `path`, which takes its place when all of it has come. Whatever happens
    before (an error, Ctrl-C) removes the hidden file, and leaves alone what stood at `path`.

    Raises:
        InputError: the URL cannot be fetched: its status, or what broke the transfer, is in the message.
        OutputError: `path` cannot be written.
    """
    target = Path(path).absolute()
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            _fetch(url, file, f"Downloading {target.name}")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(
            f"cannot write {url} to {target}: {error}", "check the permission, the free space and the path"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _fetch(url: str, file: BinaryIO, label: str) -> None:
    import httpx

    try:
        # Compressed on the way, the length that is announced would not be that of the file.
        with httpx.stream(
            "GET",
            url,
            follow_redirects=True,
            timeout=_PATIENCE_SECONDS,
            headers={"Accept-Encoding": "identity"},
        ) as response:
            if not response.is_success:
                raise InputError(
                    f"cannot download {url}: the server answered {response.status_code} {response.reason_phrase}",
                    "check the address, and whether it asks for a login",
                )
            _copy(response, file, label)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InputError(
            f"cannot download {url}: {error or type(error).__name__}",
            "check the address and the network, and try again",
        ) from error


def _copy(response: Any, file: BinaryIO, label: str) -> None:
    """The body of `response` to `file`, its encoding undone."""
    from huggingface_hub.utils import tqdm

    announced = response.headers.get("Content-Length")
    expected = int(announced) if announced is not None else None
    with tqdm(total=expected, unit="B", unit_scale=True, leave=False, desc=label) as progress:
        for chunk in response.iter_bytes(_CHUNK_BYTES):
            file.write(chunk)
            progress.update(response.num_bytes_downloaded - progress.n)
    # Counted before any decoding, as the announcement is.
    if expected is not None and response.num_bytes_downloaded != expected:
        raise InputError(
            f"cannot download {response.url}: {response.num_bytes_downloaded} bytes came of {expected}", "try again"
        )
