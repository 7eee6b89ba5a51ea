"""The output of an export: a model folder with a new graph in it, and what tells of it.

OUTPUT/                      all of the model's own files
OUTPUT/onnx/model_O3.onnx    the graph; or OUTPUT/openvino/openvino_model.xml and .bin
OUTPUT/README.md             the model's card, with a section on the graph
OUTPUT/training/export.html  the report
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from st_ray.core.markdown import plain
from st_ray.core.page import Section, report_page
from st_ray.core.summary import human_bytes
from st_ray.runtime.model_output import TRAINING
from st_ray.store import fs

KIND = "exported model"
REPORT = "export.html"
_CARD = "README.md"
_HEADING = "## Exported graph"
_LAST = ("modules.json", "config.json")
"""Files without which a folder is no model folder; where there are both, the second alone would be another model."""
_NOT_THE_MODEL = {"manifest.json", "run.json", "lock.json", TRAINING}


def mirror(source: Path, folder: Path) -> Path:
    """Links in `folder` to all files of the model folder `source`, beside which a graph can be put."""
    for file in sorted(source.rglob("*")):
        relative = file.relative_to(source)
        hidden = any(part.startswith(".") for part in relative.parts)
        if file.is_file() and not hidden and relative.parts[0] not in _NOT_THE_MODEL:
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / relative).symlink_to(file.resolve())
    return folder


def write_card(folder: Path, title: str, about: Mapping[str, Any]) -> None:
    """Put a section on the graph into the model's card; one of an earlier export of the same graph goes."""
    card = folder / _CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {plain(title)}\n"
    heading = f"{_HEADING}: {plain(about['graph'])}\n"
    before, found, after = text.partition(heading)
    if found:
        following = after.find("\n## ")
        text = before + (after[following + 1 :] if following >= 0 else "")
    rows = "\n".join(f"| {name} | {plain(value)} |" for name, value in facts(about).items())
    card.unlink(missing_ok=True)  # the link, not the model's own
    card.write_text(f"{text.rstrip()}\n\n{heading}\n| | |\n|---|---|\n{rows}\n", encoding="utf-8")


def write_report(folder: Path, about: Mapping[str, Any], picture: bytes, of_run: Iterable[Section]) -> None:
    """Write the report page; the sections `of_run` come last."""
    section = Section("Agreement with torch", "Of the graph's results with torch's in float32.", picture=picture)
    (folder / TRAINING).mkdir()
    (folder / TRAINING / REPORT).write_bytes(report_page("Export", facts(about), [section, *of_run]))


def publish(source: Path, folder: str) -> None:
    """Write all files below `source` to `folder`; those last by which it becomes a model folder.

    Nothing opens what an interrupted one leaves, on object stores too, where a folder cannot be renamed into place.
    """
    files = {file.relative_to(source).as_posix(): file for file in sorted(source.rglob("*")) if file.is_file()}
    last = {name: files.pop(name) for name in _LAST if name in files}
    for name, file in (files | last).items():
        fs.write_atomic(fs.join(folder, name), file.read_bytes())


def facts(about: Mapping[str, Any]) -> dict[str, str]:
    """What a reader wants to know of the graph."""
    agreement, least = about["agreement"], about["thresholds"]
    found = {
        "model": about["model"],
        "graph": f"{about['graph']}, {human_bytes(about['bytes'])}",
    }
    if about["calibration"]:
        found["calibrated with"] = f"{about['calibration']:,} {'pairs' if about['pairs'] else 'texts'}"
    if about["pairs"]:
        found["compared"] = f"logits of {agreement['pairs']:,} pairs, with torch in float32"
        allowed = "" if least["difference"] is None else f" (allowed: {least['difference']:g})"
        found["largest difference"] = f"{agreement['largest_difference']:.3g}{allowed}"
        found["rank correlation"] = f"{agreement['correlation']:.6f} (at least {least['correlation']:g})"
    else:
        found["compared"] = f"embeddings of {agreement['texts']:,} texts, with torch in float32"
        found["least cosine"] = f"{agreement['least_cosine']:.6f} (at least {least['cosine']:g})"
        found["mean cosine"] = f"{agreement['mean_cosine']:.6f} (at least {least['mean_cosine']:g})"
    return found
