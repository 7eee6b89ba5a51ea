"""What a path stands for: a file, a glob, a folder of files, a saved datasets folder, a BEIR folder."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import InputError
from st_ray.store.fs import is_local, open_fs
from st_ray.store.manifest import check_inside
from st_ray.store.readers.files import reading, stamp_of, stat
from st_ray.store.readers.formats import SUPPORTED, classify
from st_ray.store.readers.spec import SourceFile

_BEIR_CORPORA = ("corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst")


@dataclass(frozen=True)
class Found:
    """The files that one input stands for, in reading order; `beir`: they are a BEIR corpus."""

    files: tuple[SourceFile, ...]
    beir: bool = False


def expand(given: str) -> Found:
    """The files that the input `given` stands for.

    Raises:
        InputError: nothing is there, nothing in it can be read, or it holds files of several formats.
    """
    fs, path = open_fs(given)
    info = stat(fs, path)
    if info is None:
        return _Place(fs, given).glob(path)
    if info["type"] == "directory":
        return _Place(fs, given).folder(path)
    return Found((_Place(fs, given).file(path, info),))


@dataclass(frozen=True)
class _Place:
    """A file system, and the input as the user wrote it, for messages."""

    fs: Any
    given: str

    def file(self, path: str, info: dict[str, Any]) -> SourceFile:
        """One file, whose name says how to read it."""
        kind = classify(posixpath.basename(path))
        if kind is None:
            raise InputError(f"{path}: unknown file type{self._within(path)}", SUPPORTED)
        url = path if is_local(self.fs) else self.fs.unstrip_protocol(path)
        with reading(url):
            return SourceFile(url, *kind, size=int(info["size"]), stamp=stamp_of(self.fs, path, info))

    def glob(self, pattern: str) -> Found:
        """The files that match, sorted by path; where there are only folders that match, what is in those."""
        if not any(character in pattern for character in "*?["):
            raise InputError(f"{self.given}: no such file or folder", "check the path; " + SUPPORTED)
        with reading(self.given):
            matches = dict(self.fs.glob(pattern, detail=True))
        root = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        # What the pattern itself spells with a dot or an underscore is wanted.
        shown = {part[:1] for part in pattern[len(root) :].split("/")}
        visible = {path: info for path, info in matches.items() if not _is_hidden(path[len(root) :], shown)}
        files = {path: info for path, info in visible.items() if info["type"] != "directory"}
        if files:
            return Found(tuple(self.file(path, files[path]) for path in sorted(files)))
        if visible:
            found = [self.folder(path) for path in sorted(visible)]
            return Found(tuple(file for one in found for file in one.files), any(one.beir for one in found))
        raise InputError(f"{self.given}: nothing matches", "check the pattern, and quote it in the shell")

    def folder(self, path: str) -> Found:
        """What a folder holds, by the files that mark its kind."""
        with reading(self.given):
            entries = {posixpath.basename(entry["name"].rstrip("/")): entry for entry in self.fs.ls(path, detail=True)}
        if "dataset_dict.json" in entries:
            return self._dataset_dict(path)
        if "state.json" in entries and "dataset_info.json" in entries:
            return self._dataset(path)
        corpus = next((name for name in _BEIR_CORPORA if name in entries), None)
        if corpus is not None:
            return Found((self.file(posixpath.join(path, corpus), entries[corpus]),), beir=True)
        if "manifest.json" in entries and "data" in entries:
            return self._tree(posixpath.join(path, "data"), only="parquet")
        return self._tree(path)

    def _tree(self, path: str, only: str | None = None) -> Found:
        """All files of one format in the folder and below, sorted by path; of the format `only` if it is given."""
        # Walking a local tree passes over folders that it may not enter, unless it is told otherwise.
        options = {"on_error": "raise"} if is_local(self.fs) else {}
        with reading(self.given):
            entries = dict(self.fs.find(path, detail=True, **options))
        formats: dict[str, str] = {}
        files = []
        for name in sorted(entries):
            kind = classify(name)
            inside = posixpath.relpath(name, path)
            if kind is None or name.endswith("/") or _is_hidden(inside):
                continue
            if only in (None, kind[0]):
                formats.setdefault(kind[0], inside)
                files.append(name)
        if len(formats) > 1:
            (one, first), (other, second) = list(formats.items())[:2]
            raise InputError(
                f"{self.given}: files of different formats in one folder: {first} ({one}), {second} ({other})",
                "name the files or a glob, such as FOLDER/*.parquet",
            )
        if not files:
            raise InputError(f"{self.given}: no file in this folder can be read", SUPPORTED)
        return Found(tuple(self.file(name, entries[name]) for name in files))

    def _dataset_dict(self, path: str) -> Found:
        splits = self._json(posixpath.join(path, "dataset_dict.json")).get("splits", [])
        if len(splits) != 1:
            raise InputError(
                f"{self.given}: a DatasetDict with {len(splits)} splits: {', '.join(splits) or 'none'}",
                f"name one of them: {posixpath.join(self.given, splits[0])}" if splits else "save it again",
            )
        check_inside(splits[0], posixpath.join(path, "dataset_dict.json"))
        return self._dataset(posixpath.join(path, splits[0]))

    def _dataset(self, path: str) -> Found:
        """The Arrow files of a saved dataset, in the order that its state.json gives."""
        state = posixpath.join(path, "state.json")
        files = []
        for entry in self._json(state).get("_data_files", []):
            check_inside(entry["filename"], state)
            name = posixpath.join(path, entry["filename"])
            info = stat(self.fs, name)
            if info is None:
                raise InputError(f"{name}: no such file, but {state} lists it", "save or copy the dataset again")
            files.append(self.file(name, info))
        return Found(tuple(files))

    def _json(self, path: str) -> dict[str, Any]:
        with reading(path):
            content = self.fs.cat_file(path)
        try:
            return dict(json.loads(content))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: not a JSON object: {error}", "save or copy the dataset again") from error

    def _within(self, path: str) -> str:
        return "" if path.endswith(self.given) else f", from the input {self.given}"


def _is_hidden(path: str, shown: Collection[str] = ()) -> bool:
    """Whether a part of `path` begins with a dot or an underscore that is not in `shown`."""
    return any(part[:1] in (".", "_") and part[:1] not in shown for part in path.split("/"))
