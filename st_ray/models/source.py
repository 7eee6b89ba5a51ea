"""Where a model comes from: a folder, an installed package, an object store or the Hugging Face hub.

Whatever the source, the answer is a local folder, and a digest of its content identifies the model.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from st_ray.core.errors import ModelError
from st_ray.models.cache import cached_folder
from st_ray.models.weights import uses_pickle
from st_ray.store.fs import open_fs

PACKAGE = "package:"
_HUB_ORGANIZATION = "sentence-transformers"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SUFFIXES = {".json", ".txt", ".safetensors", ".bin", ".model", ".vocab", ".jinja", ".py", ".bpe", ".spm", ".tiktoken"}
# Other forms of the same weights.
_OTHER_BACKENDS = {"onnx", "openvino", "coreml"}
# What training leaves beside a model: how it came to be.
_RUNS = "training"
_OF_TRAINING = {"manifest.json", "run.json", _RUNS}
_NOT_FROM_HUB = [
    *(f"{name}/*" for name in [*sorted(_OTHER_BACKENDS), _RUNS]),
    *("manifest.json", "run.json", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf"),
]
_CHUNK = 1 << 20


def resolve_model(model: str | Path, graph: str | None = None) -> Path:
    """The local folder of `model`.

    Args:
        model: a folder; `package:NAME` for a folder inside an installed package; the URL of a folder (s3://…),
            which is fetched once per machine; or the id of a model on the Hugging Face hub.
        graph: name of an exported graph that is fetched too. Others are not.

    Raises:
        ModelError: nothing is there, or it cannot be fetched.
    """
    name = os.fspath(model)
    if name.startswith(PACKAGE):
        return _package_folder(name.removeprefix(PACKAGE))
    if "://" in name:
        return _fetched_folder(name, graph)
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    if local.exists():
        raise ModelError(f"{local} is a file, not a model folder", "give the folder that holds it")
    if isinstance(model, Path) or not _HUB_ID.fullmatch(name) or name.startswith("."):
        raise ModelError(f"there is no model folder at {local}", "check the path")
    return _hub_folder(name, graph)


def hub_id(model: str) -> str | None:
    """The id that `model` has on the Hugging Face hub; None where `resolve_model` takes it from elsewhere."""
    elsewhere = model.startswith((PACKAGE, ".")) or "://" in model or Path(model).expanduser().exists()
    if elsewhere or not _HUB_ID.fullmatch(model):
        return None
    return model if "/" in model else f"{_HUB_ORGANIZATION}/{model}"


def model_digest(folder: Path) -> str:
    """SHA-256, in hex, of the names and contents of all files that can change an embedding.

    The same model in another place has the same digest; documentation, images, exports to other backends and what
    training left beside it do not count.
    """
    files = []
    for path in sorted(folder.rglob("*")):
        relative = PurePosixPath(path.relative_to(folder).as_posix())
        if is_model_file(relative) and path.is_file():
            stat = path.stat()
            files.append((str(relative), stat.st_size, stat.st_mtime_ns))
    return _content_digest(folder, tuple(files))


def is_model_file(path: PurePosixPath) -> bool:
    """Whether the file `path`, as seen from its model folder, can change an embedding."""
    if path.parts[0] in _OF_TRAINING or path.name.lower().startswith(("readme", "license")):
        return False
    hidden_or_other = any(part.startswith(".") or part in _OTHER_BACKENDS for part in path.parts)
    return path.suffix in _SUFFIXES and not hidden_or_other


@functools.lru_cache(maxsize=4)
def _content_digest(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    # Kept for the process: a large model takes seconds to read, and is asked for by each who loads a part of it.
    digest = hashlib.sha256()
    for relative, size, _ in files:
        digest.update(f"{relative}\0{size}\0".encode())
        with open(folder / relative, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _package_folder(package: str) -> Path:
    """The one folder with modules.json (else config.json) in an installed package, which is not imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"there is no installed package {package!r}", f"install it with pip, or check {PACKAGE}NAME")
    root = Path(next(iter(spec.submodule_search_locations)))
    for marker in ("modules.json", "config.json"):
        places = {path.parent for depth in ("", "*/", "*/*/") for path in root.glob(depth + marker)}
        found = sorted(place for place in places if not any(place.is_relative_to(other / _RUNS) for other in places))
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(str(path) for path in found)
            raise ModelError(f"the package {package!r} holds several model folders: {listed}", "give one of the paths")
    raise ModelError(f"the package {package!r} holds no model folder ({root})", "check the package's name")


def _fetched_folder(url: str, graph: str | None) -> Path:
    """A copy of the folder at `url` in this machine's cache, keyed by the URL and what is listed there."""
    fs, root = open_fs(url)

    def wanted(name: PurePosixPath) -> bool:
        return is_model_file(name) or (graph is not None and _is_of_graph(name, PurePosixPath(graph)))

    try:
        listing = fs.find(root, detail=True)
        names = {PurePosixPath(path).relative_to(root): path for path in listing}
        files = {name.as_posix(): listing[names[name]] for name in sorted(names) if wanted(name)}
        if any(".." in name.parts for name in names):
            raise ModelError(
                f"{url} holds a file whose name leaves the folder", "copy the model to a folder of its own"
            )
        if not files:
            raise ModelError(f"there is no model folder at {url}", "check the URL; it must name the folder itself")
        return cached_folder("models", _listing_digest(url, files), lambda target: _fetch(fs, files, target))
    except ModelError:
        raise
    except Exception as error:  # each driver raises errors of its own
        raise ModelError(
            f"cannot fetch the model from {url}: {type(error).__name__}: {error}",
            "check the URL, the credentials and the space in the cache folder ($ST_RAY_CACHE)",
        ) from error


def _is_of_graph(file: PurePosixPath, graph: PurePosixPath) -> bool:
    """Whether the file is that graph, or holds its weights."""
    return file.name.startswith(graph.stem + ".") and file.parent.name in ("", graph.parent.name, *_OTHER_BACKENDS)


def _listing_digest(url: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    digest = hashlib.sha256(url.rstrip("/").encode())
    for name, info in files.items():
        version = info.get("ETag") or info.get("etag") or info.get("LastModified") or info.get("mtime") or ""
        digest.update(f"\0{name}\0{info['size']}\0{version}".encode())
    return digest.hexdigest()[:32]


def _fetch(fs: Any, files: Mapping[str, Mapping[str, Any]], target: Path) -> None:
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
    fs.get([info["name"] for info in files.values()], [str(target / name) for name in files])
    for name, info in files.items():
        size = (target / name).stat().st_size
        if size != info["size"]:
            raise OSError(f"{name} has {size} bytes, expected {info['size']}")


def _hub_folder(name: str, graph: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download

    # A bare name means the organisation's own models, unless the hub has it without one.
    ids = [name] if "/" in name else [f"{_HUB_ORGANIZATION}/{name}", name]
    problems = []
    for repository in ids:
        try:
            folder = Path(snapshot_download(repository, ignore_patterns=[*_NOT_FROM_HUB, "*.bin"]))
            if uses_pickle(folder):
                snapshot_download(repository, allow_patterns=["*.bin", "*.bin.index.json"])
            if graph is not None:
                snapshot_download(repository, allow_patterns=[f"*{PurePosixPath(graph).stem}.*"])
        except Exception as error:  # offline, absent, forbidden: all say why
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            problems.append(f"{repository}: {type(error).__name__}: {reason}")
        else:
            return folder
    offline = " (HF_HUB_OFFLINE is set, only the local cache was searched)" if constants.HF_HUB_OFFLINE else ""
    raise ModelError(
        f"{name!r} is no local folder and cannot be had from the Hugging Face hub{offline}: {'; '.join(problems)}",
        "check the name and the network, or give a folder, package:NAME or the URL of a folder",
    )
