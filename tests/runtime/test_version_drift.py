"""What a new version tells of its drift, with real stores and without the work that makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_ray.runtime.clock import Laps
from st_ray.runtime.reembed.drift import COMPARED, COPIED, NOT_COMPARED, drift_since
from st_ray.runtime.reembed.standing import Standing
from st_ray.runtime.reembed.told import drift_lines
from st_ray.store.versions import Versions
from tests.stores import vectors, write_store

ONE, TWO = (f"v-2026112{day}T080906Z" for day in (1, 2))
ROWS = 200


def told(root: Path, laps: Laps | None = None, **standing: Any) -> tuple[dict[str, Any], str]:
    """The figures, and the line of the summary."""
    nothing: dict[str, Any] = dict.fromkeys(("resumed", "reuse", "refresh"))
    found = Standing(**{**nothing, "latest": ONE, "unchanged": False, "differs": [], "dropped": {}, **standing})
    about = drift_since(found, Versions(str(root)), TWO, laps or Laps())
    return json.loads(json.dumps(about)), drift_lines(about).get("drift", "")


def store(root: Path, name: str, embeddings: np.ndarray, **lineage: Any) -> None:
    write_store(root / name / "embeddings", embeddings, **{"model": "m", **lineage})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store(tmp_path, ONE, vectors(ROWS))
    return tmp_path


def test_what_was_copied_has_not_moved_and_is_not_read(tmp_path: Path) -> None:
    about, line = told(tmp_path, laps := Laps(), reuse=ONE)
    assert (about["how"], about["before"]) == (COPIED, ONE)
    assert line == f"none since {ONE}: embeddings of texts that were there before are copies"
    assert laps.seconds == {}


def test_before_the_first_version_there_is_nothing(tmp_path: Path) -> None:
    about, line = told(tmp_path, latest=None)
    assert (about, line) == ({"how": NOT_COMPARED, "before": None, "why": "there is no version before"}, "")


def test_embeddings_of_one_model_are_compared_with_each_other(root: Path) -> None:
    moved = vectors(ROWS)
    moved[:20] *= -1
    store(root, TWO, moved, prompt="passage: ")
    # Taken over from elsewhere, they need not be those of the version before.
    about, line = told(root, laps := Laps(), reuse="s3://elsewhere/store")
    movement, overlap = about["movement"], about["overlap"]
    assert (about["how"], about["texts"], movement["texts"], movement["identical"]) == (COMPARED, ROWS, ROWS, ROWS - 20)
    assert movement["mean"] == pytest.approx(0.8)
    assert (overlap["queries"], overlap["top_k"]) == (ROWS, 10)
    assert 0.3 < overlap["mean"] < 1
    assert f"since {ONE}: moved to a cosine of 0.800000 on average, -1.000000 the least, by 200 texts; " in line
    assert line.endswith(f"{overlap['mean']:.1%} of the 10 nearest neighbours are the same")
    assert set(laps.seconds) == {"comparison"}


def test_encoded_again_they_may_be_the_same(root: Path) -> None:
    store(root, TWO, vectors(ROWS))
    _, line = told(root, differs=["--overwrite"])
    assert "the same to the last bit, by 200 texts; 100.0% of the 10" in line


def test_of_two_models_neighbours_alone_are_compared(root: Path) -> None:
    store(root, TWO, vectors(ROWS, dimension=32), model="n")
    about, line = told(root)
    assert (about["how"], about["movement"]) == (COMPARED, None)
    assert line.startswith(f"since {ONE}: the stores are of different models; ")
    assert "nearest neighbours" in line


def test_without_a_text_in_common(root: Path) -> None:
    store(root, TWO, vectors(ROWS), texts=[f"new {row}" for row in range(ROWS)])
    about, line = told(root)
    assert (about["movement"], about["overlap"]) == (None, None)
    assert line == f"since {ONE}: the stores have no text in common"


def test_a_version_before_that_is_gone_is_named(tmp_path: Path) -> None:
    store(tmp_path, TWO, vectors(ROWS))
    about, line = told(tmp_path, laps := Laps())
    assert about["how"] == NOT_COMPARED
    assert line.startswith(f"not compared with {ONE}: {tmp_path}/{ONE}/embeddings has no manifest.json")
    assert "\n" not in line
    assert set(laps.seconds) == {"comparison"}


def test_no_error_of_the_comparison_is_one_of_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("1 GiB\nfor http://me:secret@proxy")

    monkeypatch.setattr("st_ray.runtime.reembed.drift.drift", fail)
    about, _ = told(root)
    assert about == {"how": NOT_COMPARED, "before": ONE, "why": "MemoryError: 1 GiB"}


def test_who_stops_the_run_stops_the_comparison(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("st_ray.runtime.reembed.drift.drift", stop)
    with pytest.raises(KeyboardInterrupt):
        told(root)
