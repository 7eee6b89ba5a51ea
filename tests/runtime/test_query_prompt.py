"""Which prompt query texts get: the one that is asked for, else the model's own for queries."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_ray.core.errors import InputError
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.encode import within
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.queries import encode_queries
from st_ray.scoring.vectors import StoredVectors
from tests.stores import write_store

CORPUS = np.ones((4, 3), np.float32)


def asked_of_encode(folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> EncodeConfig:
    """What the encode job is told for query texts against a corpus of `model`."""
    seen: list[EncodeConfig] = []
    monkeypatch.setattr(within, "encode", lambda config, loader, session: seen.append(config))
    lineage = {"model": model_digest(model), "normalize": True, "truncate_dim": 3}
    corpus = StoredVectors.open(write_store(folder / "corpus", CORPUS, **lineage))
    write_store(folder / "out" / "queries", CORPUS)
    config = SearchConfig(
        queries=("q.jsonl",), embeddings=corpus.folder, output=str(folder / "out"), model=str(model), **flags
    )
    encode_queries(config, corpus, config.output, None, contextlib.ExitStack())
    return seen[0]


@pytest.fixture
def model(tmp_path: Path, minilm: str) -> Path:
    copied = tmp_path / "model"
    shutil.copytree(resolve_model(minilm), copied)
    settings = copied / "config_sentence_transformers.json"
    known = json.loads(settings.read_text())
    settings.write_text(json.dumps({**known, "prompts": {"query": "find: ", "other": "other: "}}))
    return copied


@pytest.mark.parametrize(
    ("flags", "prompt", "name"),
    [({}, None, "query"), ({"prompt": "p"}, "p", None), ({"prompt_name": "other"}, None, "other")],
)
def test_the_prompt(
    flags: dict[str, str], prompt: str | None, name: str | None, tmp_path: Path, model: Path, monkeypatch: Any
) -> None:
    told = asked_of_encode(tmp_path, model, monkeypatch, **flags)
    assert (told.prompt, told.prompt_name) == (prompt, name)
    assert (told.normalize, told.truncate_dim, told.precision) == (True, 3, "float32")


def test_another_model_is_refused(tmp_path: Path, minilm: str) -> None:
    corpus = StoredVectors.open(write_store(tmp_path / "corpus", CORPUS, model="another"))
    config = SearchConfig(queries=("q.jsonl",), embeddings=corpus.folder, output=str(tmp_path / "out"), model=minilm)
    with pytest.raises(InputError, match="is not the model that made"):
        encode_queries(config, corpus, config.output, None, contextlib.ExitStack())
