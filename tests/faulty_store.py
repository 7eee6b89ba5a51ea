"""An S3 server on loopback that can fail on request, as stores at scale do."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

FAULTS = ("500", "503", "429", "refused", "no answer", "cut body")
_ERRORS = {
    "500": ("500 Internal Server Error", "InternalError"),
    "503": ("503 Slow Down", "SlowDown"),
    "429": ("429 Too Many Requests", "TooManyRequests"),
    "412": ("412 Precondition Failed", "PreconditionFailed"),
}

Fault = Callable[[str, str], str]
"""From a request's method and path (with its query) to the fault it meets, '' for none.

Several may be asked at a time, and it may take its time.
"""


class FaultyStore:
    """moto's S3 with faults: an error in place of an answer, or a connection that drops.

    `refused` drops it before the request is carried out, `no answer` after, and `cut body` in the middle of the body.

    Attributes:
        met: how many requests have met which fault, since `failing` was called last.
        listed: the prefix of each listing that was asked for, bucket included.
    """

    def __init__(self) -> None:
        self._store = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=MotoRequestHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._fault: Fault | None = None
        self._lock = threading.Lock()
        self.met: Counter[str] = Counter()
        self.listed: list[str] = []
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[Counter[str]]:
        """Requests meet what `fault` says, until the block is left; how many have met which is counted."""
        self.met = Counter()
        self._fault = fault
        try:
            yield self.met
        finally:
            self._fault = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        query = parse_qs(environ["QUERY_STRING"])
        if "list-type" in query:
            self.listed.append(environ["PATH_INFO"].strip("/") + "/" + query.get("prefix", [""])[0])
        fault = self._next_fault(environ)
        if fault in _ERRORS:
            status, code = _ERRORS[fault]
            body = f"<Error><Code>{code}</Code><Message>{code} of a test</Message></Error>".encode()
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            yield b"" if environ["REQUEST_METHOD"] == "HEAD" else body
            return
        if fault == "refused":
            raise _dropped(environ)
        body = b"".join(self._store(environ, start_response if fault != "no answer" else _nowhere))
        if fault == "no answer":
            raise _dropped(environ)
        if fault == "cut body":
            yield body[: len(body) // 2]
            raise _dropped(environ)
        yield body

    def _next_fault(self, environ: dict[str, Any]) -> str:
        told = self._fault
        if told is None:
            return ""
        fault = told(environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        if fault:
            with self._lock:
                self.met[fault] += 1
        return fault


def some(share: float, seed: int = 0) -> Fault:
    """A share of the requests meets any of FAULTS, by chance."""
    rng, lock = random.Random(seed), threading.Lock()

    def fault(method: str, path: str) -> str:
        with lock:
            return rng.choice(FAULTS) if rng.random() < share else ""

    return fault


def first(fault: str, times: int = 1, method: str = "", within: str = "") -> Fault:
    """The first `times` requests of that method, with `within` in their path, meet the fault."""
    left, lock = times, threading.Lock()

    def next_fault(asked: str, path: str) -> str:
        nonlocal left
        if method not in ("", asked) or within not in path:
            return ""
        with lock:
            if not left:
                return ""
            left -= 1
        return fault

    return next_fault


def _dropped(environ: dict[str, Any]) -> ConnectionError:
    """Close the connection, which else would be kept for the next request."""
    with suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return ConnectionResetError()


def _nowhere(*_: Any) -> Callable[[bytes], None]:
    return lambda data: None
