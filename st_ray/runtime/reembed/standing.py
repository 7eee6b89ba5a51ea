"""What a run is asked for, what versions there are, and what follows: go on, take over, or encode everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from st_ray.runtime.corpus import reading_lineage, stamps_digest
from st_ray.runtime.encode.model import injected_model, inspect_model
from st_ray.runtime.encode.prepare import scan_request
from st_ray.runtime.encode.reuse import embedding_differences
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.model_facts import ModelFacts
from st_ray.runtime.reembed.config import ReembedConfig
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.lineage import Lineage, lineage_differences
from st_ray.store.manifest import MANIFEST, Manifest, read_manifest
from st_ray.store.versions import EMBEDDINGS, INDEX, Versions, is_version_name

_TAKEN = ("reuse", "refresh")
"""In a version's lineage: what it takes over from."""


@dataclass(frozen=True)
class Asked:
    """What a run is asked for, checked as far as that needs no Ray.

    Attributes:
        lineage: of a version made now: the input by its stamps, model, settings and index, as they are asked for.
    """

    config: ReembedConfig
    model: ModelFacts[EncoderLoader]
    lineage: Lineage

    @classmethod
    def of(cls, config: ReembedConfig, loader: EncoderLoader | None = None) -> Asked:
        """Look at input and model.

        Raises:
            InputError: no such file, column or store of queries.
            ModelError: the model folder is missing or damaged.
            ConfigError: the model has no prompt of that name.
        """
        model = injected_model(config, loader) if loader else inspect_model(config)
        request = scan_request(config, staging=None)
        queries = StoredVectors.open(config.tune_queries).digest if config.tune_queries else None
        lineage = {
            "input": stamps_digest(request.files),
            **reading_lineage(request.spec, config.on_bad_row),
            **{name: getattr(config, name) for name in ("shard_rows", "keep_text", "backend", "dtype")},
            **model.settings,
            **config.index_settings(),
            "tune_queries": queries,
        }
        return cls(config, model, lineage)

    def differences(self, old: Manifest) -> list[str]:
        """Why the embeddings of a store are not what its texts would get now, a line each; none where they are."""
        settings = self.model.settings
        found = embedding_differences(old.lineage, settings)
        if not found and (compute := self.model.begun_compute(self.config, old.lineage)):
            found = embedding_differences(old.lineage, {**settings, **compute.settings})
        before, now = str(old.about.get("model")), str(self.model.about["model"])
        model = f"model: {before} before, {now} now" if before != now else f"model: {now} has other files than before"
        return [model if line.startswith("model: ") else line for line in found]


@dataclass(frozen=True)
class Standing:
    """Where a run stands when it begins.

    Attributes:
        latest: the latest version; None before the first.
        unchanged: whether that is what the run would make.
        resumed: an unfinished version to go on with; None to begin a new one.
        reuse: the version to take embeddings over from, or a store elsewhere; None to encode everything.
        refresh: the version whose index to take over; None to build a new one.
        differs: why the latest version's embeddings cannot be taken over, where they cannot.
        dropped: other unfinished versions, and why the run does not go on with them.
    """

    latest: str | None
    unchanged: bool
    resumed: str | None
    reuse: str | None
    refresh: str | None
    differs: Sequence[str]
    dropped: Mapping[str, str]

    @property
    def taken(self) -> Lineage:
        """What stands in the lineage of the version beside what is asked for."""
        return {name: getattr(self, name) for name in _TAKEN}


def look(asked: Asked, versions: Versions) -> Standing:
    """Where the versions stand.

    Raises:
        OutputError: the pointer names a version that is not there.
        ConfigError: this machine cannot compute as the latest version was computed.
    """
    overwrite, latest = asked.config.overwrite, versions.latest()
    begun = [name for name in versions.names() if latest is None or name > latest]
    known = [latest, *begun] if latest else begun
    changes = {name: _changes(asked, versions, name) for name in known}
    resumed = None if overwrite else next((name for name in reversed(begun) if not changes[name]), None)
    reuse: str | None = None
    refresh: str | None = None
    differs = ["--overwrite"] if overwrite and latest else []
    if resumed is not None:
        lineage = versions.output(resumed).begun_lineage() or {}
        reuse, refresh = (lineage.get(name) for name in _TAKEN)
    elif not overwrite:
        reuse, differs = _to_reuse(asked, versions, known)
        refresh = latest if latest and fs.exists(versions.folder(latest, fs.join(INDEX, MANIFEST))) else None
    left = [name for name in begun if name not in (resumed, reuse) and not versions.is_whole(name)]
    return Standing(
        latest=latest,
        unchanged=latest is not None and not changes[latest] and not overwrite,
        resumed=resumed,
        reuse=reuse,
        refresh=refresh,
        differs=differs,
        dropped={name: _why_dropped(changes[name]) for name in left},
    )


def store_to_reuse(standing: Standing, versions: Versions) -> str | None:
    """Where the embeddings lie that are taken over."""
    name = standing.reuse
    return versions.folder(name, EMBEDDINGS) if name is not None and is_version_name(name) else name


def _changes(asked: Asked, versions: Versions, name: str) -> list[str]:
    """What of the lineage that a version was begun with is different now."""
    begun = versions.output(name).begun_lineage() or {}
    without = {part: value for part, value in begun.items() if part not in _TAKEN}
    return [line.partition(":")[0] for line in lineage_differences(without, asked.lineage)]


def _why_dropped(changes: Sequence[str]) -> str:
    return f"begun with another {', '.join(changes)}" if changes else "unfinished"


def _to_reuse(asked: Asked, versions: Versions, names: Sequence[str]) -> tuple[str | None, list[str]]:
    """Of versions given oldest first, the newest with finished embeddings that fit; else why the oldest do not."""
    differs: list[str] = []
    for name in reversed(names):
        folder = versions.folder(name, EMBEDDINGS)
        if fs.exists(fs.join(folder, MANIFEST)):
            differs = asked.differences(read_manifest(folder))
            if not differs:
                return name, []
    return asked.config.reuse, differs
