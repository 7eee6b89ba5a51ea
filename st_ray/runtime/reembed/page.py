"""A version as a page: what it has, how it was made, how far it is from the one before, and which others there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from st_ray.core.errors import StRayError
from st_ray.core.page import Section, report_page
from st_ray.core.summary import human_bytes
from st_ray.index.tune import Curve
from st_ray.runtime.compare_stores.page import drift_sections
from st_ray.runtime.reembed.config import ReembedConfig
from st_ray.runtime.reembed.drift import COMPARED
from st_ray.runtime.reembed.told import drift_lines, index_lines, origin_lines, rows_lines
from st_ray.runtime.report.page import run_sections
from st_ray.store import fs
from st_ray.store.manifest import Manifest, read_manifest
from st_ray.store.versions import EMBEDDINGS, INDEX, PAGE, Versions, staying


def write_page(config: ReembedConfig, versions: Versions, name: str, manifest: Manifest) -> None:
    """Write the page of the version `name`, before its manifest."""
    whole = [other for other in versions.names() if other == name or versions.is_whole(other)]
    kept = [
        (other, manifest if other == name else _manifest(versions.folder(other)))
        for other in staying(whole, name, config.keep)
    ]
    fs.write_atomic(versions.folder(name, PAGE), version_page(config, name, manifest, kept))


def version_page(
    config: ReembedConfig, name: str, manifest: Manifest, kept: Sequence[tuple[str, Manifest | None]]
) -> bytes:
    """The page.

    Args:
        kept: the versions that there are, oldest first; None for a manifest that cannot be read.
    """
    about, run = manifest.about, manifest.run
    facts = {
        **rows_lines(manifest),
        **origin_lines(manifest),
        **index_lines(about["index"]),
        **drift_lines(about["drift"]),
        **({"resumed": "an earlier run had begun this version"} if run["resumed"] else {}),
    }
    sections = [
        _parts(about["index"] is not None),
        _history(kept),
        *(drift_sections(about["drift"]) if about["drift"]["how"] == COMPARED else ()),
        *run_sections(config, manifest.lineage, run["seconds"]),
    ]
    return report_page(f"Version {name}", facts, sections)


def _parts(has_index: bool) -> Section:
    names = (EMBEDDINGS, INDEX) if has_index else (EMBEDDINGS,)
    text = "Each has a page of its own, which tells more of how it was made."
    return Section("What it consists of", text, links={name: f"{name}/{PAGE}" for name in names})


def _history(kept: Sequence[tuple[str, Manifest | None]]) -> Section:
    rows = [(name, *_cells(manifest)) for name, manifest in reversed(kept)]
    text = "The versions that are kept, the newest first. Their names tell when they were begun (UTC)."
    return Section("History", text, [("version", "rows", "encoded", "recall", "bytes"), *rows])


def _cells(manifest: Manifest | None) -> Iterator[str]:
    if manifest is None:
        yield from ("–", "–", "–", "–")
        return
    index = manifest.about["index"] or {"curve": None, "bytes": 0}
    yield f"{manifest.rows:,}"
    yield f"{manifest.run['encoded']:,}"
    yield f"{Curve.from_json(index['curve']).best.recall:.4f}" if index["curve"] else "–"
    yield human_bytes(manifest.total_bytes + index["bytes"]).replace(" ", "\u00a0")


def _manifest(folder: str) -> Manifest | None:
    """That of another version; what is wrong with it is no matter of this one."""
    with suppress(StRayError):
        return read_manifest(folder)
    return None
