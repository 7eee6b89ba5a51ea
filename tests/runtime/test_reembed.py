"""Which versions are made, gone on with, taken over from and removed, whenever a run is killed; without their work."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from st_ray.core.errors import ConfigError, InputError, OutputError
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.compute import OWN
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.model import injected_model
from st_ray.runtime.encode.reuse import embedding_differences
from st_ray.runtime.reembed.config import ReembedConfig
from st_ray.runtime.reembed.drift import COPIED, NOT_COMPARED
from st_ray.runtime.reembed.job import ReembedResult, reembed
from st_ray.runtime.reembed.standing import Asked, Standing, look
from st_ray.runtime.reembed.summary import reembed_summary
from st_ray.runtime.result import JobResult
from st_ray.store import embeddings, fs
from st_ray.store.manifest import Manifest, read_manifest
from st_ray.store.output import OutputFolder, Part
from st_ray.store.versions import Versions
from tests.ray.corpora import texts_of, write_jsonl
from tests.stubs import StubLoader

LOADER = StubLoader()
BROKEN = "a text that stops the run"


class Killed(BaseException):
    """The process is gone: nothing catches it, and nothing is written any more."""


class Stages:
    """Both jobs without their work, as far as the files go; what they were asked for is noted."""

    def __init__(self) -> None:
        self.asked: list[EncodeConfig | BuildIndexConfig] = []

    @property
    def reuse(self) -> str | None:
        """Of the last encoding."""
        return next(config.reuse for config in reversed(self.asked) if isinstance(config, EncodeConfig))

    def encode(self, config: EncodeConfig, loader: Any, session: ExitStack) -> JobResult:
        self.asked.append(config)
        content = Path(config.input[0]).read_text()
        if BROKEN in content:
            raise InputError("a broken row")
        lineage = {"input": content, **injected_model(config, loader).settings, **OWN.settings}
        figures = {"reused": content.count("\n") if config.reuse else 0}
        about, run = {"model": repr(loader)}, {"start_up_seconds": {"Ray": 0.5}, "gone": 0 if config.reuse else None}
        return _write(config.output, embeddings.KIND, lineage, content.count("\n"), about, run, figures)

    def build_index(self, config: BuildIndexConfig, session: ExitStack) -> JobResult:
        self.asked.append(config)
        rows = read_manifest(config.embeddings).rows
        about = {"factory": "Flat", "curve": None, "embeddings": config.embeddings}
        return _write(config.output, "index", {"rows": rows}, rows, about, {"seconds": {"Ray": 0.0}}, {})


def _write(folder: str, kind: str, lineage: Any, rows: int, about: Any, run: Any, figures: Any) -> JobResult:
    output = OutputFolder(folder, kind)
    if (finished := output.manifest()) is not None:
        output.check_lineage(lineage)
        return JobResult(finished, folder, already_complete=True)
    entry = output.begin(lineage).commit("part-00000", Part(b"x", rows, 0, figures=figures))
    output.finish(manifest := Manifest(kind, lineage, (entry,), about, run))
    return JobResult(manifest, folder)


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    found = Stages()
    monkeypatch.setattr("st_ray.runtime.reembed.job.encode", found.encode)
    monkeypatch.setattr("st_ray.runtime.reembed.job.build_index", found.build_index)
    monkeypatch.setattr("st_ray.store.fs.os.fsync", lambda descriptor: None)
    return found


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_jsonl(tmp_path / "c.jsonl", texts_of(5))


def asked_for(source: str, **changes: Any) -> ReembedConfig:
    root = str(Path(source).parent / "root")
    flags = {"input": (source,), "model": "stub", "output": root, "id_column": "id", "keep": 2}
    return ReembedConfig(**flags | changes)


def made(source: str, loader: StubLoader = LOADER, **changes: Any) -> ReembedResult:
    return reembed(asked_for(source, **changes), loader)


def standing_of(source: str, loader: StubLoader = LOADER, **changes: Any) -> Standing:
    config = asked_for(source, **changes)
    return look(Asked.of(config, loader), Versions(config.output))


def name_of(result: JobResult) -> str:
    return Path(result.folder).name


def assert_latest_is_whole(root: Path, rows: int | None = None) -> None:
    name = Versions(str(root)).latest()
    assert name is not None
    kinds = {"": "version", "embeddings": "embeddings", "index": "index"}
    for within, kind in kinds.items():
        manifest = read_manifest(str(root / name / within))
        assert manifest.kind == kind
        assert rows is None or within == "index" or manifest.rows == rows
    assert read_manifest(str(root / name / "index")).about["embeddings"] == str(root / name / "embeddings")


def allow(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many writes and removals happen, and then none; a folder's removal stops half-way."""
    done = 0

    def counted(really: Any) -> Any:
        def mutate(url: str, *args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done > allowed:
                if done == allowed + 1 and kwargs.get("recursive") and Path(url).is_dir():
                    next(path for path in Path(url).rglob("*") if path.is_file()).unlink()
                raise Killed
            return really(url, *args, **kwargs)

        return mutate

    for name in ("write_atomic", "create_exclusive", "remove"):
        monkeypatch.setattr(fs, name, counted(getattr(fs, name)))


@pytest.mark.parametrize("then", [{}, {"normalize": True}, {"index": "none"}])
def test_killed_at_any_write_the_next_run_ends_well(source: str, then: dict[str, Any]) -> None:
    root = Path(source).parent / "root"
    for rows in (5, 6, 7):
        write_jsonl(Path(source), texts_of(rows))
        made(source)
    before = root.rename(root.parent / "before")
    write_jsonl(Path(source), texts_of(8))
    for allowed in range(100):
        shutil.copytree(before, root)
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            allow(allowed, patch)
            made(source)
            break
        (root / "lock.json").unlink(missing_ok=True)  # a dead process's lock is taken over
        assert_latest_is_whole(root)
        result = made(source, **then)
        versions = Versions(str(root))
        assert versions.latest() == name_of(result)
        assert result.manifest.rows == 8
        assert sorted(path.name for path in root.iterdir()) == ["latest", *versions.names()]
        assert len(list(filter(versions.is_whole, versions.names()))) == len(versions.names()) == 2
        shutil.rmtree(root)
    assert 15 < allowed < 99


def test_a_run_takes_over_from_the_latest_and_keeps_the_newest(source: str, stages: Stages) -> None:
    root = Path(source).parent / "root"
    names = []
    for _ in range(4):
        result = made(source, keep=3)
        names.append(name_of(result))
        assert stages.reuse == (str(root / names[-2] / "embeddings") if len(names) > 1 else None)
        assert stages.asked[-1].refresh == (str(root / names[-2] / "index") if len(names) > 1 else None)
    assert names == sorted(names)
    assert Versions(str(root)).names() == names[1:]
    assert result.manifest.about["drift"]["how"] == COPIED
    assert result.removed == {names[0]: "old"}
    shown = reembed_summary(result)
    for part in (
        f"{names[3]} is the latest",
        f"5 rows from {names[2]}, 0 encoded",
        f"none since {names[2]}",
        f"{names[0]} (old)",
        "Flat",
    ):
        assert part in shown


def test_nothing_is_done_where_nothing_has_changed(source: str, stages: Stages) -> None:
    first = made(source, if_changed=True)
    assert not first.already_complete
    again = made(source, if_changed=True)
    assert (again.already_complete, again.folder) == (True, first.folder)
    assert len(stages.asked) == 2
    assert f"nothing to do, input and settings are those of {name_of(first)}" in reembed_summary(again)
    for changes in ({"target_recall": 0.5}, {"keep_text": True}, {"index": "none"}, {"normalize": True}):
        assert not standing_of(source, **changes).unchanged
    assert standing_of(source, keep=5, actors="1", price_per_hour=1.0).unchanged
    write_jsonl(Path(source), texts_of(6))
    assert not made(source, if_changed=True).already_complete


@pytest.mark.parametrize(
    ("changes", "loader", "why"),
    [
        ({"prompt": "query: "}, LOADER, "prompt: '' before, 'query: ' now"),
        ({"precision": "int8"}, LOADER, "precision: 'float32' before, 'int8' now"),
        ({}, StubLoader(dimension=4), "model: StubLoader(dimension=8) before, StubLoader(dimension=4) now"),
        ({"overwrite": True}, LOADER, "--overwrite"),
    ],
)
def test_other_embeddings_are_all_made_anew(
    source: str, stages: Stages, changes: dict[str, Any], loader: StubLoader, why: str
) -> None:
    made(source)
    result = made(source, loader, **changes)
    assert stages.reuse is None
    assert result.manifest.about["differs"] == [why]
    assert f"all, since {why}" in reembed_summary(result)
    # These stores cannot be read, which is no matter of the new version.
    assert result.manifest.about["drift"]["how"] == NOT_COMPARED
    assert_latest_is_whole(Path(result.folder).parent, rows=5)
    # A shorter text, another index: nothing that an embedding depends on.
    assert standing_of(source, loader, **{**changes, "overwrite": False}, index="Flat", keep_text=True).differs == []


def test_finished_embeddings_of_a_run_that_was_cut_short_are_taken_over(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = name_of(made(source))
    write_jsonl(Path(source), texts_of(7))
    with monkeypatch.context() as patch:
        patch.setattr("st_ray.runtime.reembed.job.build_index", _die)
        with pytest.raises(Killed):
            made(source)
    (unfinished,) = set(Versions(asked_for(source).output).names()) - {first}
    same = standing_of(source)
    assert (same.resumed, same.reuse, same.dropped) == (unfinished, first, {})
    write_jsonl(Path(source), texts_of(8))
    other = standing_of(source)
    assert (other.resumed, other.reuse, other.refresh, other.dropped) == (None, unfinished, first, {})
    anew = standing_of(source, normalize=True)
    assert (anew.reuse, anew.dropped) == (None, {unfinished: "begun with another input, normalize"})
    result = made(source)
    assert result.manifest.lineage["reuse"] == unfinished
    assert result.removed == {unfinished: "unfinished"}


def test_a_run_that_was_cut_short_is_gone_on_with(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("st_ray.runtime.reembed.job.build_index", _die)
        with pytest.raises(Killed):
            made(source)
    (unfinished,) = Versions(asked_for(source).output).names()
    result = made(source, if_changed=True)
    assert name_of(result) == unfinished
    assert result.manifest.run["resumed"]
    assert "an earlier run had begun" in reembed_summary(result)


def test_a_mistake_leaves_nothing_behind(source: str) -> None:
    root = Path(source).parent / "root"
    bad = write_jsonl(Path(source).parent / "bad.jsonl", [BROKEN])
    with pytest.raises(InputError, match="a broken row"):
        made(source, input=(bad,))
    assert list(root.iterdir()) == []
    with pytest.raises(InputError, match="nowhere"):
        made(source, input=("nowhere.jsonl",))


def test_runs_never_overlap(source: str) -> None:
    versions = Versions(asked_for(source).output)
    with versions.lock(), pytest.raises(OutputError, match="another job is writing here"):
        made(source)
    assert versions.names() == []


def test_a_store_of_an_earlier_time_serves_a_first_version(source: str, stages: Stages) -> None:
    made(source, reuse="s3://elsewhere/embeddings")
    assert stages.reuse == "s3://elsewhere/embeddings"
    result = made(source, reuse="s3://elsewhere/embeddings")
    assert stages.reuse == str(Path(result.folder).parent / result.manifest.lineage["reuse"] / "embeddings")


def test_without_an_index(source: str) -> None:
    result = made(source, index="none")
    assert not (Path(result.folder) / "index").exists()
    assert result.manifest.about["index"] is None
    assert "latest/index" not in reembed_summary(result)
    assert f"{result.folder}/report.html" in reembed_summary(result)
    assert (Path(result.folder) / "report.html").exists()
    assert json.loads((Path(result.folder) / "manifest.json").read_text())["totals"]["rows"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": 1}, "--keep 1 must be 2 or more"),
        ({"target_recall": 1.5}, "--target-recall 1.5"),
        ({"recall_at": 0}, "--recall-at 0"),
        ({"shard_rows": 0}, "--shard-rows 0"),
    ],
)
def test_flags_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked_for("c.jsonl", **changes)


def _die(*_: Any) -> JobResult:
    raise Killed


def test_embeddings_of_an_exported_graph_are_others() -> None:
    old, now = {"model": "m", "graph": "model.onnx 12", "backend": "onnx"}, {"model": "m", "backend": "onnx"}
    assert embedding_differences(old, now) == ["graph: 'model.onnx 12' before, None now"]
    assert embedding_differences(now, {**now, "graph": "g"}) == ["graph: None before, 'g' now"]
    assert embedding_differences(old, {**now, "graph": "model.onnx 12"}) == []
