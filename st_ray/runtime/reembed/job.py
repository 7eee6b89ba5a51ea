"""One version after the other: encode, index, publish, remove what is old; a run that is cut short is gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from st_ray.core.errors import StRayError
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.clock import Laps
from st_ray.runtime.encode.job import encode
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.reembed.config import NO_INDEX, ReembedConfig
from st_ray.runtime.reembed.drift import drift_since
from st_ray.runtime.reembed.page import write_page
from st_ray.runtime.reembed.standing import Asked, Standing, look, store_to_reuse
from st_ray.runtime.result import JobResult
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest, ShardEntry, content_digest, read_manifest
from st_ray.store.output import RUN
from st_ray.store.versions import EMBEDDINGS, INDEX, KIND, Versions, staying


@dataclass(frozen=True)
class ReembedResult(JobResult):
    """What a run left, and what it removed.

    Attributes:
        removed: versions, and why.
    """

    removed: Mapping[str, str] = field(default_factory=dict)


def reembed(config: ReembedConfig, loader: EncoderLoader | None = None) -> ReembedResult:
    """Run the job to its end.

    Args:
        config: see `ReembedConfig`.
        loader: an encoder of the caller's own in place of a model folder's.

    Raises:
        StRayError: bad input, model, output or resources, before any model is loaded where that is possible;
            ShardError if some shards failed (the others stay committed).
    """
    laps = Laps()
    versions = Versions(config.output)
    versions.check_usable()
    asked = Asked.of(config, loader)
    with ExitStack() as session:  # the Ray that the first stage starts serves both
        lock = session.enter_context(versions.lock())
        standing = look(asked, versions)
        if config.if_changed and standing.latest is not None and standing.unchanged:
            name = standing.latest
            return ReembedResult(read_manifest(versions.folder(name)), versions.folder(name), already_complete=True)
        for name in standing.dropped:
            versions.remove(name)
        name = standing.resumed or versions.new_name(datetime.now(timezone.utc))
        output, lineage = versions.output(name), {**asked.lineage, **standing.taken}
        output.begin(lineage)
        laps.end("input")
        stages = _Stages(config, versions, name, standing)
        encoded = stages.encode(loader, session)
        laps.end("embeddings")
        built = stages.build_index(session) if config.index != NO_INDEX else None
        laps.end("index")
        drift = drift_since(standing, versions, name, laps)
        manifest = _manifest(lineage, standing, encoded, built, drift, _seconds(laps, encoded, built))
        lock.require_held(versions.root)
        write_page(config, versions, name, manifest)
        output.finish(manifest)
        versions.publish(name)
        old = remove_old(versions, name, config.keep)
    return ReembedResult(manifest, versions.folder(name), removed={**standing.dropped, **old})


def remove_old(versions: Versions, latest: str, keep: int) -> dict[str, str]:
    """Remove all versions but the latest and the newest `keep` whole ones; the names of what was removed, and why."""
    whole = {name: versions.is_whole(name) for name in versions.names()}
    kept = staying([name for name in whole if whole[name]], latest, keep)
    old = {name: "old" if whole[name] else "unfinished" for name in whole if name not in kept}
    for name in old:
        versions.remove(name)
    return old


@dataclass(frozen=True)
class _Stages:
    """The outputs that make up the version `name`."""

    config: ReembedConfig
    versions: Versions
    name: str
    standing: Standing

    def encode(self, loader: EncoderLoader | None, session: ExitStack) -> JobResult:
        """The embeddings; raises what `encode` raises."""
        folder = self.versions.folder(self.name, EMBEDDINGS)
        try:
            reuse = store_to_reuse(self.standing, self.versions)
            return encode(self.config.encode_config(folder, reuse), loader, session)
        except StRayError:
            if not fs.exists(fs.join(folder, RUN)):
                self.versions.remove(self.name)  # nothing was begun that mended flags could go on with
            raise

    def build_index(self, session: ExitStack) -> JobResult:
        """The index; raises what `build_index` raises."""
        store, index = (self.versions.folder(self.name, within) for within in (EMBEDDINGS, INDEX))
        before = self.standing.refresh
        refresh = self.versions.folder(before, INDEX) if before else None
        return build_index(self.config.build_index_config(store, index, refresh), session)


def _manifest(
    lineage: Lineage,
    standing: Standing,
    encoded: JobResult,
    built: JobResult | None,
    drift: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> Manifest:
    """What the version is; its one entry stands for the embeddings, whose own manifest has the parts."""
    store = encoded.manifest
    return Manifest(
        kind=KIND,
        lineage=lineage,
        entries=(ShardEntry(EMBEDDINGS, store.rows, 0, store.total_bytes, content_digest(store.to_json())),),
        about={
            "model": store.about["model"],
            "differs": list(standing.differs),
            "index": _about_index(built),
            "drift": drift,
        },
        run={**_counts(store), "resumed": standing.resumed is not None, "seconds": seconds},
    )


def _counts(manifest: Manifest) -> dict[str, Any]:
    """Rows of the embeddings, by where they are from."""
    reused = int(sum(entry.figures.get("reused", 0) for entry in manifest.entries))
    return {
        "reused": reused,
        "encoded": manifest.rows - reused,
        "gone": manifest.run.get("gone"),
        "left_out": sum(manifest.dropped.values()),
    }


def _about_index(built: JobResult | None) -> dict[str, Any] | None:
    """What a version tells of its index."""
    if built is None:
        return None
    about = built.manifest.about
    names = ("factory", "parameter", "recall_at", "target_recall", "curve", "refresh")
    return {**{name: about.get(name) for name in names}, "bytes": built.manifest.total_bytes}


def _seconds(laps: Laps, encoded: JobResult, built: JobResult | None) -> dict[str, float]:
    """Those of each step; the start of Ray, which the first stage with any work waits for, is a step of its own."""
    seconds = {"input": laps.seconds["input"], "Ray": 0.0, **laps.seconds}
    starts = {
        "embeddings": {} if encoded.already_complete else encoded.manifest.run["start_up_seconds"],
        "index": {} if built is None or built.already_complete else built.manifest.run["seconds"],
    }
    for step, laps_within in starts.items():
        start = laps_within.get("Ray", 0.0)
        seconds[step] = round(seconds[step] - start, 2)
        seconds["Ray"] = round(seconds["Ray"] + start, 2)
    return seconds
