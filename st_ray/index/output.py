"""A finished index: what its manifest says, and whether the embeddings are still those that it was built from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.spec import IndexSpec
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.lineage import lineage_digest
from st_ray.store.manifest import MANIFEST, Manifest, ShardEntry, check_inside, read_manifest

KIND = "index"
TRAINED = "trained.faiss"
MERGED = "index.faiss"
PLOT = "recall.svg"


@dataclass(frozen=True)
class OpenedIndex:
    """An index by its manifest.

    Attributes:
        entries: its parts.
        merged: where the joined index lies; None where the parts were kept.
        mapped: whether that is meant to stay on its disk.
        parameter: nprobe or efSearch to search with; None where the index has none, or for its default.
        embeddings: the store that it was built from, and `embeddings_digest`, which that had then.
        bytes: of all parts.
    """

    folder: str
    entries: tuple[ShardEntry, ...]
    spec: IndexSpec
    merged: str | None
    mapped: bool
    parameter: int | None
    embeddings: str
    embeddings_digest: str
    bytes: int
    digest: str

    def part_url(self, entry: ShardEntry) -> str:
        """Where a part lies."""
        return fs.join(self.folder, "data", entry.name)

    def open_embeddings(self, folder: str | None = None) -> StoredVectors:
        """The store that the index was built from.

        Args:
            folder: where it lies now, if it has moved.

        Raises:
            InputError: it is missing, or was made anew since.
        """
        store = StoredVectors.open(folder or self.embeddings)
        if store.digest != self.embeddings_digest:
            raise InputError(
                f"{store.folder} does not hold the embeddings that {self.folder} was built from",
                "build the index again, or name the store that it was built from with --embeddings",
            )
        return store

    def with_parameter(self, nprobe: int | None = None, ef_search: int | None = None) -> OpenedIndex:
        """With another search parameter, if one is given.

        Raises:
            ConfigError: the index has no such parameter.
        """
        for name, value in (("nprobe", nprobe), ("efSearch", ef_search)):
            if value is not None and self.spec.search_parameter != name:
                raise ConfigError(
                    f"{self.folder} is {self.spec.factory}, which has no {name}",
                    f"its parameter is {self.spec.search_parameter}" if self.spec.search_parameter else "leave it out",
                )
        value = nprobe if nprobe is not None else ef_search
        return self if value is None else dataclasses.replace(self, parameter=value)


def open_index_output(folder: str) -> OpenedIndex:
    """Read the manifest. Raises InputError if `folder` is no finished index."""
    manifest = read_manifest(folder)
    if manifest.kind != KIND:
        raise InputError(f"{folder} holds {manifest.kind}, not an index", "name the output of jobs.build_index")
    about = manifest.about
    if about["merged"]:
        check_inside(about["merged"], fs.join(folder, MANIFEST))
    return OpenedIndex(
        folder=folder,
        entries=manifest.entries,
        spec=spec_of(about),
        merged=fs.join(folder, about["merged"]) if about["merged"] else None,
        mapped=manifest.lineage["merge"] == "disk",
        parameter=about["parameter"],
        embeddings=about["embeddings"],
        embeddings_digest=manifest.lineage["embeddings"],
        bytes=manifest.total_bytes,
        digest=_digest(manifest),
    )


def about_of(spec: IndexSpec) -> dict[str, Any]:
    """What a manifest keeps of the recipe; `spec_of` reads it."""
    return dataclasses.asdict(spec)


def spec_of(about: Any) -> IndexSpec:
    """The recipe that a manifest describes."""
    return IndexSpec(**{field.name: about[field.name] for field in dataclasses.fields(IndexSpec) if field.init})


def _digest(manifest: Manifest) -> str:
    return lineage_digest({"lineage": dict(manifest.lineage), "parts": [entry.digest for entry in manifest.entries]})
