"""A job's output folder: its layout, what is committed in it, and the rules for opening it.

    OUTPUT/run.json              lineage and run id, written first
    OUTPUT/data/part-00042.parquet
    OUTPUT/commits/part-00042.json   one commit record a part, written after it
    OUTPUT/rejects.parquet/      rows that were left out, a file for each shard that has any
    OUTPUT/staging/              only until it is finished: among other things, what the job tells of itself (`journal`)
    OUTPUT/ranges.json           of int8 and uint8 embeddings, settled before the first part
    OUTPUT/report.html           the run as a page
    OUTPUT/manifest.json         written last: its presence is completion

The parts have a folder to themselves, so that pyarrow, pandas, DuckDB, Ray Data and datasets open it as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import posixpath
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from st_ray.core.errors import OutputError, ShardError, StRayError
from st_ray.store import fs
from st_ray.store.journal import STAGING, note_error
from st_ray.store.lineage import Lineage, lineage_differences, lineage_digest
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import MANIFEST, Manifest, ShardEntry, content_digest, read_manifest
from st_ray.store.readers.staging import is_chunk

RUN = "run.json"
LOCK = "lock.json"
REJECTS = "rejects.parquet"
RANGES = "ranges.json"
_OWN = {RUN, MANIFEST, REJECTS, STAGING, RANGES, "data", "commits"}


def part_name(number: int, shards: int, suffix: str = ".parquet") -> str:
    """The name of part `number` of `shards`; parts sort by name."""
    return f"part-{number:0{max(5, len(str(shards - 1)))}d}{suffix}"


@dataclass(frozen=True)
class Part:
    """What a shard became.

    Attributes:
        data: the part's bytes.
        rows: rows in it.
        first_row: global row number at which the shard begins.
        dropped: rows left out, by reason.
        figures: what was counted and measured while the part was made.
        beside: further files of the shard, by path within the output.
        scores: how scores are distributed that were made with the part, by what they are of: see `Histogram.to_text`.
            They are kept in the commit record, not in the manifest.
    """

    data: bytes
    rows: int
    first_row: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, bytes] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """A part that was published.

    Attributes:
        at: when, in seconds since the epoch by the clock of the machine that did it; 0 where it is not known.
        took: seconds of work on the shard, by step.
        scores: see `Part`.
    """

    entry: ShardEntry
    at: float = 0.0
    took: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Writer:
    """What a worker needs to publish parts: the folder, the run it belongs to, and the lineage's digest."""

    folder: str
    run_id: str
    lineage: str

    def part_url(self, name: str) -> str:
        """Where part `name` lies."""
        return fs.join(self.folder, "data", name)

    def commit(self, name: str, part: Part) -> ShardEntry:
        """`publish` for who knows nothing of times."""
        return self.publish(name, part, {}).entry

    def publish(self, name: str, part: Part, took: Mapping[str, float]) -> Commit:
        """Publish a part, then its record. Writing the same part twice leaves the same part.

        Args:
            took: seconds of work on the shard so far, by step; kept in the record, with those of writing.

        Raises:
            ShardError: another run has started the output anew since this one began, or this machine does not see it.
        """
        begun = time.perf_counter()
        self._check_fence(name)
        for beside, data in part.beside.items():
            fs.write_atomic(fs.join(self.folder, beside), data)
        fs.write_atomic(self.part_url(name), part.data)
        entry = ShardEntry(
            name,
            part.rows,
            part.first_row,
            len(part.data),
            content_digest(part.data),
            dict(part.dropped),
            dict(part.figures),
        )
        seconds = {**took, "write": time.perf_counter() - begun}
        took = {step: round(count, 4) for step, count in seconds.items()}
        commit = Commit(entry, round(time.time(), 3), took, dict(part.scores))
        record = {**dataclasses.asdict(entry), "lineage": self.lineage, "at": commit.at, "took": took}
        if commit.scores:
            record["scores"] = commit.scores
        fs.write_atomic(_record_url(self.folder, name), json.dumps(record).encode())
        return commit

    def _check_fence(self, name: str) -> None:
        # A task that outlived its killed driver must not overwrite the parts of a newer run.
        where = fs.join(self.folder, RUN)
        try:
            run_id = json.loads(fs.read_bytes(where))["run_id"]
        except FileNotFoundError:
            raise ShardError(
                f"not written: {socket.gethostname()} finds no {fs.full_path(where)}",
                "unless it was removed: name an --output that all machines see, on s3:// or in a shared folder",
            ) from None
        if run_id != self.run_id:
            raise ShardError(f"{name} was not written: {self.folder} now belongs to another run")


class OutputFolder:
    """The driver's view of an output while its job runs.

    Args:
        beside: names of what this kind of job keeps in the folder beside the above.
    """

    def __init__(self, folder: str, kind: str, beside: Sequence[str] = ()) -> None:
        self.folder = folder.rstrip("/") if len(folder) > 1 else folder
        self.kind = kind
        self._own = _OWN | set(beside)

    def check_usable(self) -> None:
        """Raise OutputError if the folder holds anything but an output of the same kind of job."""
        if "://" in self.folder and any(character in self.folder for character in "*?["):
            # Drivers would take it for a pattern, and with --overwrite remove whatever matches.
            raise OutputError(f"{self.folder} holds one of * ? [", "name another folder with --output")
        names = {name for name in self._names() if not name.startswith(".")} - {LOCK}
        if not names:
            return
        run = read_run(self.folder)
        if run is None and names == {STAGING} and self._is_scan_alone():
            return
        if run is None:
            foreign = ", ".join(sorted(names)[:3])
            raise OutputError(
                f"{self.folder} is not empty and was not made by st-ray (it holds {foreign})",
                "name a new or empty folder with --output; nothing in this one was touched",
            )
        if run["kind"] != self.kind:
            raise OutputError(
                f"{self.folder} holds {run['kind']}, this job makes {self.kind}", "name another folder with --output"
            )

    @contextlib.contextmanager
    def lock(self) -> Iterator[OutputLock]:
        """The lock that keeps a second job away, for a `with`; an error that ends the block is noted in the output."""
        with OutputLock(fs.join(self.folder, LOCK)) as lock:
            try:
                yield lock
            except Exception as error:
                if not lock.lost:
                    self._note(error)
                raise

    def manifest(self) -> Manifest | None:
        """The manifest, if the output is complete."""
        return read_manifest(self.folder) if fs.is_file(fs.join(self.folder, MANIFEST)) else None

    def begun_lineage(self) -> Lineage | None:
        """What the output was begun with; None where nothing was begun."""
        run = read_run(self.folder)
        return run["lineage"] if run else None

    def settle(self, name: str, make: Callable[[], Any]) -> Any:
        """The JSON value in the file `name`; made and written where it is absent, so that all runs use the same."""
        where = fs.join(self.folder, name)
        if not fs.is_file(where):
            fs.create_exclusive(where, json.dumps(make()).encode())
        return json.loads(fs.read_bytes(where))

    def settle_inputs(self, name: str, inputs: Lineage) -> None:
        """Write what the parts are made from into the file `name`, or compare it with what stands there.

        Raises:
            OutputError: earlier parts were made from something else.
        """
        differences = lineage_differences(self.settle(name, lambda: inputs), inputs)
        if differences:
            raise OutputError(
                f"what {self.folder} was begun with has changed:\n     " + "\n     ".join(differences),
                "name another --output, or start again with --overwrite",
            )

    def check_lineage(self, lineage: Lineage) -> None:
        """Raise OutputError, naming the parts that differ, if what lies here was begun with another lineage."""
        run = read_run(self.folder)
        differences = lineage_differences(run["lineage"], lineage) if run else []
        if differences:
            raise OutputError(
                f"{self.folder} was begun with other settings:\n     " + "\n     ".join(differences),
                "repeat the run with the settings it was begun with, name another --output, or start again with "
                "--overwrite",
            )

    def begin(self, lineage: Lineage) -> Writer:
        """Begin, or go on with what an earlier run of the same lineage left; returns the workers' writer."""
        self.check_lineage(lineage)
        run = read_run(self.folder)
        if run is None:
            run = {"kind": self.kind, "run_id": uuid.uuid4().hex, "lineage": dict(lineage)}
            fs.write_atomic(fs.join(self.folder, RUN), json.dumps(run, indent=1, ensure_ascii=False).encode())
        self._sweep_temporaries()
        return Writer(self.folder, run["run_id"], lineage_digest(lineage))

    def clear(self) -> None:
        """Remove what an earlier run left.

        The manifest goes first and run.json second: an interrupted clean-up never looks complete, and tasks of an
        older run find their fence gone.
        """
        for name in (MANIFEST, RUN, *sorted(self._own - {MANIFEST, RUN})):
            fs.remove(fs.join(self.folder, name), recursive=True)

    def committed(self, writer: Writer) -> dict[str, ShardEntry]:
        """Committed parts by name; see `commits`."""
        return {name: commit.entry for name, commit in self.commits(writer).items()}

    def commits(self, writer: Writer) -> dict[str, Commit]:
        """Commits by the part's name: those whose record has this lineage and whose file has the recorded size."""
        records = self._records()
        sizes = fs.file_sizes(fs.join(self.folder, "data"))
        return {
            record["name"]: Commit(
                _entry(record), record.get("at", 0.0), record.get("took", {}), record.get("scores", {})
            )
            for record in records
            if record.get("lineage") == writer.lineage and sizes.get(record["name"]) == record["bytes"]
        }

    def finish(self, manifest: Manifest) -> None:
        """Publish the manifest: the output is complete from here on."""
        self._sweep_temporaries()
        fs.write_atomic(fs.join(self.folder, MANIFEST), manifest.to_json())
        fs.remove(fs.join(self.folder, STAGING), recursive=True)

    def _note(self, error: Exception) -> None:
        """Note what ended a run of an output that is begun and not finished."""
        with contextlib.suppress(OSError, StRayError):
            if fs.is_file(fs.join(self.folder, RUN)) and not fs.is_file(fs.join(self.folder, MANIFEST)):
                note_error(self.folder, error)

    def _is_scan_alone(self) -> bool:
        """Whether all that is staged are chunks of input, which a run leaves that was stopped before it began."""
        return all(map(is_chunk, fs.list_names(fs.join(self.folder, STAGING))))

    def _names(self) -> list[str]:
        try:
            return fs.list_names(self.folder)
        except NotADirectoryError as error:
            raise OutputError(f"{self.folder} is a file", "name a folder with --output") from error
        except PermissionError as error:
            raise OutputError(f"no permission to read {self.folder}: {error}", "choose another --output") from error

    def _sweep_temporaries(self) -> None:
        """Remove what killed writers left half-written; only local folders can hold such files."""
        filesystem, path = fs.open_fs(self.folder)
        if not fs.is_local(filesystem):
            return
        for sub in ("", "data", "commits", REJECTS, STAGING):
            for stale in filesystem.glob(posixpath.join(path, sub, ".*.tmp")):
                fs.remove(stale)

    def _records(self) -> list[dict[str, Any]]:
        folder = fs.join(self.folder, "commits")
        records = []
        for data in fs.read_files(folder, [name for name in fs.list_files(folder) if name.endswith(".json")]):
            try:
                records.append(json.loads(data))
            except ValueError:
                continue  # cut short by a crash of the machine: its shard is done again
        return records


def read_run(folder: str) -> dict[str, Any] | None:
    """What an output was begun with: kind, run_id and lineage; None where nothing was begun.

    Raises:
        OutputError: `run.json` is damaged, or somebody else's.
    """
    where = fs.join(folder, RUN)
    try:
        run = json.loads(fs.read_bytes(where))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise OutputError(f"{where} is damaged: {error}", "remove the folder, or name another --output") from error
    if not {"kind", "run_id", "lineage"} <= set(run):
        raise OutputError(f"{where} was not written by st-ray", "name another folder with --output")
    return run


def _record_url(folder: str, name: str) -> str:
    return fs.join(folder, "commits", posixpath.splitext(name)[0] + ".json")


def _entry(record: dict[str, Any]) -> ShardEntry:
    names = {field.name for field in dataclasses.fields(ShardEntry)}
    return ShardEntry(**{key: value for key, value in record.items() if key in names})
