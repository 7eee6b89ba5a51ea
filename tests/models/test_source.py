"""Where models come from: folders, packages, object stores; and the digest that identifies their content."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import fsspec
import pytest

from st_ray.core.errors import ModelError
from st_ray.models.folder import read_model_folder
from st_ray.models.source import hub_id, model_digest, resolve_model
from st_ray.store.fs import open_fs
from tests.faulty_store import FaultyStore
from tests.models.tiny_models import save_tiny_model

# What training leaves beside a model.
OF_TRAINING = ("manifest.json", "run.json", "training/state.json", "training/best/config.json", "training/modules.json")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model", dense=8)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "site" / "packaged_model"
    root.mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('a model package must not be imported')")
    monkeypatch.syspath_prepend(str(root.parent))
    return root


def upload(folder: Path, url: str) -> str:
    fsspec.filesystem("s3", use_listings_cache=False).put(f"{folder}/", f"{url}/", recursive=True)
    return url


def test_folders(tiny: Path) -> None:
    assert resolve_model(tiny) == resolve_model(str(tiny)) == tiny


@pytest.mark.parametrize("missing", ["./nowhere", "/no/where", "no/such/folder", "~/no such"])
def test_missing_folder(missing: str) -> None:
    with pytest.raises(ModelError, match="no model folder at"):
        resolve_model(missing)
    with pytest.raises(ModelError, match="no model folder at"):
        resolve_model(Path("one_name"))


def test_a_file_is_not_a_folder(tiny: Path) -> None:
    with pytest.raises(ModelError, match="is a file"):
        resolve_model(tiny / "modules.json")


def test_hub_id_that_cannot_be_had_says_what_was_tried() -> None:
    with pytest.raises(ModelError, match=r"sentence-transformers/no-such-model:.*; no-such-model:"):
        resolve_model("no-such-model")
    with pytest.raises(ModelError, match="someone/no-such-model"):
        resolve_model("someone/no-such-model")


def test_ids_of_the_hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_id("all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"
    assert hub_id("BAAI/bge-small-en") == "BAAI/bge-small-en"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for elsewhere in (str(tiny), "mine", "./mine", "package:x", "s3://bucket/model"):
        assert hub_id(elsewhere) is None


@pytest.mark.parametrize("place", ["", "model", "data/model"])
def test_package(place: str, tiny: Path, package: Path) -> None:
    shutil.copytree(tiny, package / place, dirs_exist_ok=True)
    assert resolve_model("package:packaged_model") == package / place
    read_model_folder(resolve_model("package:packaged_model"))


def test_package_with_a_trained_model(tiny: Path, package: Path) -> None:
    shutil.copytree(tiny, package / "model")
    (package / "model" / "training").mkdir()
    shutil.copy(tiny / "modules.json", package / "model" / "training")
    assert resolve_model("package:packaged_model") == package / "model"


def test_package_with_none_or_several(tiny: Path, package: Path) -> None:
    with pytest.raises(ModelError, match="holds no model folder"):
        resolve_model("package:packaged_model")
    shutil.copytree(tiny, package / "one")
    shutil.copytree(tiny, package / "two")
    with pytest.raises(ModelError, match=r"several model folders: .*one, .*two"):
        resolve_model("package:packaged_model")
    with pytest.raises(ModelError, match="no installed package 'not_installed'"):
        resolve_model("package:not_installed")


def test_digest_is_of_the_content(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "elsewhere")
    digest = model_digest(tiny)
    assert model_digest(copy) == digest
    for name in ("README.md", ".gitattributes", "picture.png", "onnx/model.json", ".cache/x.json", *OF_TRAINING):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("anything")
    assert model_digest(copy) == digest
    weights = copy / "2_Dense" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert model_digest(copy) != digest
    weights.write_bytes((tiny / "2_Dense" / "model.safetensors").read_bytes())
    assert model_digest(copy) == digest
    (copy / "2_Dense" / "run.json").write_text("{}")  # not where training writes it
    assert model_digest(copy) != digest
    (copy / "2_Dense" / "run.json").unlink()
    (copy / "config_sentence_transformers.json").rename(copy / "renamed.json")
    assert model_digest(copy) != digest


def test_s3_folder_is_fetched_once(s3: str, tiny: Path, cache: Path) -> None:
    url = upload(tiny, f"{s3}/once")
    (tiny / "README.md").write_text("not fetched")
    folder = resolve_model(url)
    assert folder.parent == cache
    assert model_digest(folder) == model_digest(tiny)
    assert not (folder / "README.md").exists()
    before = (folder / "config.json").stat().st_ino
    assert resolve_model(f"{url}/") == folder
    assert (folder / "config.json").stat().st_ino == before
    assert list(cache.iterdir()) == [folder]


def test_what_training_left_in_an_s3_folder_is_not_fetched(s3: str, tiny: Path, cache: Path, tmp_path: Path) -> None:
    trained = shutil.copytree(tiny, tmp_path / "trained")
    url = upload(trained, f"{s3}/trained")
    first = resolve_model(url)
    for name in OF_TRAINING:
        (trained / name).parent.mkdir(parents=True, exist_ok=True)
        (trained / name).write_text("{}")
    assert resolve_model(upload(trained, url)) == first
    assert not any((first / name).exists() for name in OF_TRAINING)
    assert model_digest(first) == model_digest(tiny)


def test_a_graph_in_an_s3_folder_is_fetched_where_it_is_named(s3: str, tiny: Path, cache: Path, tmp_path: Path) -> None:
    source = shutil.copytree(tiny, tmp_path / "exported")
    files = ("onnx/model.onnx", "onnx/model_O3.onnx", "onnx/model_O3.onnx_data", "openvino/openvino_model.xml")
    for name in (*files, "openvino/openvino_model.bin"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"x")
    url = upload(source, f"{s3}/with-graphs")
    assert not list(resolve_model(url).rglob("*.onnx"))
    one, other = (resolve_model(url, name) for name in ("model_O3.onnx", "openvino/openvino_model.xml"))
    assert sorted(path.name for path in (one / "onnx").iterdir()) == ["model_O3.onnx", "model_O3.onnx_data"]
    assert sorted(path.suffix for path in (other / "openvino").iterdir()) == [".bin", ".xml"]
    assert model_digest(one) == model_digest(other) == model_digest(tiny)


def test_changed_s3_folder_is_fetched_again(s3: str, tiny: Path, cache: Path) -> None:
    url = upload(tiny, f"{s3}/changed")
    first = resolve_model(url)
    fsspec.filesystem("s3").pipe_file(f"{url}/config_sentence_transformers.json", b'{"truncate_dim": 4}')
    second = resolve_model(url)
    assert first != second
    assert read_model_folder(second).truncate_dim == 4


def test_missing_s3_folder(s3: str, cache: Path) -> None:
    with pytest.raises(ModelError, match="no model folder at s3://bucket/nothing/here"):
        resolve_model(f"{s3}/nothing/here")
    with pytest.raises(ModelError, match=r"cannot fetch|no model folder"):
        resolve_model("s3://no-such-bucket/model")
    assert not cache.exists() or not list(cache.iterdir())


def test_failed_fetch_leaves_nothing(s3: str, tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = upload(tiny, f"{s3}/failing")

    def short(remote: list[str], local: list[str]) -> None:
        for path in local:
            Path(path).write_bytes(b"{}")

    monkeypatch.setattr(open_fs(url)[0], "get", short)
    with pytest.raises(ModelError, match="expected"):
        resolve_model(url)
    assert list(cache.iterdir()) == []


def test_processes_that_ask_at_once_fetch_once(s3: str, tiny: Path, cache: Path, store_server: FaultyStore) -> None:
    url = upload(tiny, f"{s3}/together")
    asked = []

    def note(method: str, path: str) -> str:
        if method == "GET" and path.startswith("/bucket/together/"):
            asked.append(path)
        return ""

    with store_server.failing(note), multiprocessing.get_context("spawn").Pool(3) as pool:
        folders = pool.map(resolve_model, [url] * 3)
    assert len(asked) == len(set(asked)) == sum(path.is_file() for path in folders[0].rglob("*"))
    assert len(set(folders)) == 1
    assert list(cache.iterdir()) == [folders[0]]
    assert model_digest(folders[0]) == model_digest(tiny)
