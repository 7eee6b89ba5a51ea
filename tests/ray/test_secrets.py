"""Credentials are written nowhere."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import ray

from jobs._cli import run_job
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.store import fs
from tests.faulty_store import FaultyStore, first
from tests.ray.corpora import config_for, texts_of
from tests.stubs import StubLoader


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_credentials_are_written_nowhere(
    s3: str,
    tmp_path: Path,
    store_server: FaultyStore,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    place = f"{s3}/{tmp_path.name}"
    lines = (json.dumps({"id": f"id-{row}", "text": text}) + "\n" for row, text in enumerate(texts_of(25)))
    fs.write_atomic(f"{place}/corpus.jsonl", "".join(lines).encode())
    encode(config_for(f"{place}/corpus.jsonl", f"{place}/embeddings"), StubLoader())
    flags = {"factory": "Flat", "target_recall": 0.0}
    build_index(BuildIndexConfig(embeddings=f"{place}/embeddings", output=f"{place}/index", **flags))

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    arguments = ["--input", f"{place}/corpus.jsonl", "--model", "stub", "--output", f"{place}/failed", "--debug"]
    with store_server.failing(first("500", 10**6)), pytest.raises(SystemExit):
        run_job(EncodeConfig, lambda config: encode(config, StubLoader()).folder, arguments)

    filesystem, path = fs.open_fs(place)
    written = {name: filesystem.cat_file(name) for name in filesystem.find(path)}
    assert len(written) >= 12
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    written |= {str(log): log.read_bytes() for log in logs.rglob("*") if log.is_file()}
    shown = capfd.readouterr()
    written |= {"output": shown.out.encode(), "errors": shown.err.encode(), "log": caplog.text.encode()}
    assert b"error: " in written["errors"]
    for secret in (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]):
        assert len(secret) > 15
        assert [name for name, content in written.items() if secret.encode() in content] == []
