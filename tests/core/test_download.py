"""http_get against a real server on loopback: the whole file, or none and a message that says why."""

from __future__ import annotations

import gzip
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from st_ray.core import download
from st_ray.core.download import http_get
from st_ray.core.errors import InputError, OutputError

CONTENT = bytes(range(256)) * 1024


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        getattr(self, self.path.strip("/").replace("-", "_"))()

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def whole(self) -> None:
        self.answer(CONTENT, Content_Length=str(len(CONTENT)))

    def empty(self) -> None:
        self.answer(b"", Content_Length="0")

    def unknown_length(self) -> None:
        self.answer(CONTENT)

    def moved(self) -> None:
        self.answer(b"", 302, Location="/whole", Content_Length="0")

    def round_and_round(self) -> None:
        self.answer(b"", 302, Location="/round-and-round", Content_Length="0")

    def compressed(self) -> None:
        body = gzip.compress(CONTENT)
        self.answer(body, Content_Encoding="gzip", Content_Length=str(len(body)))

    def truncated(self) -> None:
        self.answer(CONTENT[:100_000], Content_Length=str(len(CONTENT)))

    def missing(self) -> None:
        self.answer(b"no", 404, Content_Length="2")

    def broken(self) -> None:
        self.answer(b"no", 503, Content_Length="2")

    def garbage(self) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def files_under(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("page", ["whole", "unknown-length", "moved", "compressed"])
def test_content(server: str, page: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.bin"
    http_get(f"{server}/{page}", str(target))
    assert target.read_bytes() == CONTENT
    assert files_under(tmp_path) == ["file.bin"]


def test_existing_file_is_replaced(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.bin").write_text("old")
    http_get(f"{server}/whole", "file.bin")
    assert Path("file.bin").read_bytes() == CONTENT
    http_get(f"{server}/empty", Path("file.bin"))
    assert Path("file.bin").read_bytes() == b""
    assert files_under(tmp_path) == ["file.bin"]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("missing", "404 Not Found"),
        ("broken", "503 Service Unavailable"),
        ("truncated", "cannot download"),
        ("garbage", "cannot download"),
        ("round-and-round", "redirect"),
    ],
)
def test_failed_download_keeps_the_existing_file(server: str, page: str, message: str, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_text("old")
    with pytest.raises(InputError, match=message) as caught:
        http_get(f"{server}/{page}", target)
    assert f"{server}/{page}" in caught.value.message
    assert caught.value.remedy
    assert target.read_text() == "old"
    assert files_under(tmp_path) == ["file.bin"]


def test_connection_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(InputError, match="refused") as caught:
            http_get(url, tmp_path / "file.bin")
    assert url in caught.value.message
    assert files_under(tmp_path) == []


@pytest.mark.parametrize("url", ["no-scheme", "ftp://127.0.0.1/x", "http://127.0.0.1:notaport/", "http://"])
def test_urls_that_are_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"cannot download {url}"):
        http_get(url, tmp_path / "file.bin")
    assert files_under(tmp_path) == []


def test_folder_that_cannot_be_written(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OutputError, match="cannot write") as caught:
        http_get(f"{server}/whole", tmp_path / "file" / "below.bin")
    assert str(tmp_path / "file" / "below.bin") in caught.value.message
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        http_get(f"{server}/whole", tmp_path / "folder")
    assert files_under(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(server: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write"):
        http_get(f"{server}/whole", tmp_path / "file.bin")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left on device"), OutputError)],
)
def test_broken_off_in_the_middle(
    server: str, failure: BaseException, raised: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def break_off(response: Any, file: Any, label: str) -> None:
        file.write(next(response.iter_bytes(1000)))
        seen.extend(files_under(tmp_path))
        raise failure

    monkeypatch.setattr(download, "_copy", break_off)
    with pytest.raises(raised):
        http_get(f"{server}/whole", tmp_path / "file.bin")
    assert len(seen) == 1
    assert seen[0].startswith(".file.bin.")
    assert files_under(tmp_path) == []


@pytest.mark.parametrize(("announced", "fits"), [("3", True), ("4", False), (None, True)])
def test_length_is_checked(announced: str | None, fits: bool, tmp_path: Path) -> None:
    """Clients that see a short body themselves never get so far; this is for those that do not."""
    headers = {} if announced is None else {"Content-Length": announced}
    response = SimpleNamespace(
        url="http://there/x", headers=headers, num_bytes_downloaded=3, iter_bytes=lambda size: iter([b"decoded"])
    )
    with open(tmp_path / "file.bin", "wb") as file:
        if fits:
            download._copy(response, file, "x")
        else:
            with pytest.raises(InputError, match="cannot download http://there/x: 3 bytes came of 4"):
                download._copy(response, file, "x")
    assert (tmp_path / "file.bin").read_bytes() == b"decoded"
