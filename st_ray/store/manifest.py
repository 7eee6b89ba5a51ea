"""Manifests: the record of a finished folder. Where `manifest.json` stands, the output is complete."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.lineage import Lineage

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ShardEntry:
    """One committed part.

    Attributes:
        name: file name within the folder's `data/`; a function of the plan alone.
        rows: rows in the part.
        first_row: global row number, in the input, at which the shard begins.
        bytes: size of the part.
        digest: blake2b-128 of the part's bytes, hexadecimal.
        dropped: rows left out, by reason.
        figures: what was counted and measured while the part was made.
    """

    name: str
    rows: int
    first_row: int
    bytes: int
    digest: str
    dropped: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """An ordered list of parts with the lineage that made them, totals, and counts of what was dropped and why."""

    kind: str
    lineage: Lineage
    entries: tuple[ShardEntry, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def rows(self) -> int:
        """Rows in all parts."""
        return sum(entry.rows for entry in self.entries)

    @property
    def total_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(entry.bytes for entry in self.entries)

    @property
    def dropped(self) -> dict[str, int]:
        """Rows left out of all parts, by reason."""
        total: dict[str, int] = {}
        for entry in self.entries:
            for reason, count in entry.dropped.items():
                total[reason] = total.get(reason, 0) + count
        return dict(sorted(total.items()))

    @property
    def totals(self) -> dict[str, int]:
        """Shards, rows and bytes in all."""
        return {"shards": len(self.entries), "rows": self.rows, "bytes": self.total_bytes}

    @property
    def seconds(self) -> float | None:
        """What the run that ended the job took; some jobs keep it by what it went into. None where none is kept."""
        kept = self.run.get("seconds")
        return float(sum(kept.values())) if isinstance(kept, Mapping) else kept

    def to_json(self) -> bytes:
        """The file's content; a fixed order of keys, one entry a line."""
        head = {
            "kind": self.kind,
            "schema_version": self.schema_version,
            "totals": self.totals,
            "dropped": self.dropped,
            "about": dict(self.about),
            "lineage": dict(self.lineage),
            "run": dict(self.run),
        }
        body = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
        entries = ",\n".join("  " + json.dumps(dataclasses.asdict(entry)) for entry in self.entries)
        return f'{body},\n "entries": [\n{entries}\n ]\n}}\n'.encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Parse a manifest; `where` names it in errors. Raises InputError when it is not one of ours."""
        try:
            document = json.loads(data)
            version = document["schema_version"]
            if version != SCHEMA_VERSION:
                raise InputError(
                    f"{where} has schema version {version}; this release reads version {SCHEMA_VERSION}",
                    "use the release that wrote it, or make the output again",
                )
            entries = tuple(ShardEntry(**entry) for entry in document["entries"])
            for entry in entries:
                check_inside(entry.name, where)
            return cls(
                kind=document["kind"],
                lineage=document["lineage"],
                entries=entries,
                about=document["about"],
                run=document["run"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{where} is not a manifest of st-ray: {error!r}", "name a job's output folder") from error


def read_manifest(folder: str) -> Manifest:
    """The manifest of a complete output. Raises InputError where the folder is absent, foreign or unfinished."""
    where = fs.join(folder, MANIFEST)
    try:
        return Manifest.from_json(fs.read_bytes(where), where)
    except FileNotFoundError:
        raise InputError(
            f"{folder} has no {MANIFEST}: it is not a finished output of st-ray",
            "check the path, or run the job that makes it to its end",
        ) from None


def read_manifest_of(folder: str, kind: str, remedy: str) -> Manifest:
    """The manifest of a finished folder of that kind. Raises InputError, with the remedy, for anything else."""
    manifest = read_manifest(folder)
    if manifest.kind != kind:
        raise InputError(f"{folder} holds {manifest.kind}, not {kind}", remedy)
    return manifest


def check_inside(name: str, where: str) -> None:
    """Raise InputError, naming the file `where` that tells of it, unless `name` is that of a file in a folder."""
    if not isinstance(name, str) or name in ("", ".", "..") or any(mark in name for mark in ("/", "\\", "\0")):
        raise InputError(
            f"{where} names {name!r}, which is no file of its folder", "use a folder that is as its job left it"
        )


def content_digest(data: bytes) -> str:
    """blake2b-128 of a part's bytes, hexadecimal."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
