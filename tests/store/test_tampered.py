"""Folders that someone has tampered with: names that leave the folder, and pickles that run code."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_ray.core.errors import InputError, ModelError
from st_ray.index.output import open_index_output
from st_ray.models.weights import check_weight_files
from st_ray.runtime.mining.negatives.stored import StoredTexts
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.hits import open_hits
from st_ray.store.manifest import Manifest, ShardEntry, read_manifest, read_manifest_of
from st_ray.store.output import OutputFolder, Part
from st_ray.store.readers.folders import expand
from st_ray.store.reuse import read_matches
from st_ray.store.scores import ScoreStore

OUTSIDE = ["../part.parquet", "/etc/passwd", "s3://other/part", "a/b", "..", "", "a\\b", "a\0b"]


def write_manifest(folder: Path, entry: str, kind: str = "embeddings", **about: Any) -> str:
    folder.mkdir(exist_ok=True)
    manifest = Manifest(kind, {}, (ShardEntry(entry, 1, 0, 1, "d"),), about)
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return str(folder)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize(
    "opener",
    [
        read_manifest,
        lambda folder: read_manifest_of(folder, "embeddings", ""),
        lambda folder: OutputFolder(folder, "embeddings").manifest(),
        StoredVectors.open,
        StoredTexts.open,
        ScoreStore.open,
        open_hits,
        open_index_output,
    ],
)
def test_parts_outside_their_folder(opener: Callable[[str], Any], name: str, tmp_path: Path) -> None:
    folder = write_manifest(tmp_path / "out", name)
    with pytest.raises(InputError, match=r"manifest\.json names .* no file of its folder"):
        opener(folder)


def test_a_joined_index_outside_its_folder(tmp_path: Path) -> None:
    folder = write_manifest(tmp_path / "out", "part-00000.faiss", "index", merged="../../index.faiss")
    with pytest.raises(InputError, match=r"names '\.\./\.\./index\.faiss'"):
        open_index_output(folder)


def test_a_commit_record_of_a_file_elsewhere_is_no_commit(tmp_path: Path) -> None:
    (tmp_path / "outside.parquet").write_bytes(b"x")
    output = OutputFolder(str(tmp_path / "out"), "embeddings")
    writer = output.begin({})
    writer.commit("part-00000.parquet", Part(b"x", 1, 0))
    record = tmp_path / "out" / "commits" / "part-00000.json"
    record.write_text(record.read_text().replace("part-00000.parquet", "../../outside.parquet"))
    assert output.committed(writer) == {}


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/secret.arrow", "s3://other/secret.arrow"])
def test_files_of_a_saved_dataset_outside_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.arrow").touch()
    (tmp_path / "set" / "dataset_info.json").write_text("{}")
    (tmp_path / "set" / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(InputError, match=r"state\.json names"):
        expand(str(tmp_path / "set"))
    (tmp_path / "dict").mkdir()
    (tmp_path / "dict" / "dataset_dict.json").write_text(json.dumps({"splits": ["../set"]}))
    with pytest.raises(InputError, match=r"dataset_dict\.json names '\.\./set'"):
        expand(str(tmp_path / "dict"))


@pytest.mark.parametrize("name", ["../weights.safetensors", "/weights.safetensors"])
def test_weights_outside_their_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"layer": name}}))
    with pytest.raises(ModelError, match="points outside its folder"):
        check_weight_files(tmp_path)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_arrays_are_no_pickles(tmp_path: Path) -> None:
    sink = io.BytesIO()
    np.save(sink, np.array([Bomb(tmp_path / "ran")], object), allow_pickle=True)
    fs.write_atomic(str(tmp_path / "matches.npy"), sink.getvalue())
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_matches(str(tmp_path / "matches.npy"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:SECRETWORD@bucket/corpus",
        "s3://AKIAKEY:SECRET/WORD@bucket/corpus",
        "https://user:SECRETWORD@host/corpus.jsonl",
        "https://bucket.host/corpus.jsonl?X-Amz-Credential=a&X-Amz-Signature=SECRETWORD",
        "https://host/corpus.jsonl?sv=1&sig=SECRETWORD",
        "https://host/corpus.jsonl?access_token=SECRETWORD",
    ],
)
def test_urls_with_secrets_are_refused_and_not_repeated(url: str) -> None:
    for use in (fs.open_fs, fs.read_bytes, expand, read_manifest, lambda url: fs.write_atomic(url, b"")):
        with pytest.raises(InputError, match="holds a password, a key or a signature") as error:
            use(url)
        assert "SECRET" not in str(error.value)
        assert "AKIAKEY" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a@b:c/corpus",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/name/corpus",
        "memory://host:80/a@b",
        "/local/user:word@place?sig=x",
    ],
)
def test_other_urls_are_not(url: str) -> None:
    fs.open_fs(url)
