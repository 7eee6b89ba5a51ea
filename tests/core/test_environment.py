"""What is installed is found out without importing it, and the package itself imports next to nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import st_ray
from st_ray.core.environment import is_training_available


@pytest.mark.parametrize(
    ("installed", "available"),
    [
        (["ray", "ray/train", "datasets"], True),
        (["ray", "ray/train"], False),
        (["ray", "datasets"], False),
        (["datasets"], False),
        ([], False),
    ],
)
def test_what_training_needs(
    installed: list[str], available: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in installed:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
    for package in ("ray", "datasets"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    assert is_training_available() is available


def test_ray_that_is_a_single_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "datasets.py").touch()
    (tmp_path / "ray.py").touch()
    for package in ("ray", "datasets"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    assert is_training_available() is False


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_is_light() -> None:
    run(
        "import sys, st_ray\n"
        "st_ray.is_training_available(), st_ray.http_get, st_ray.quantize_embeddings\n"
        "heavy = {'torch', 'transformers', 'ray', 'datasets', 'huggingface_hub', 'httpx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


def test_this_machine_can_train() -> None:
    run("import st_ray; assert st_ray.is_training_available()")


def test_every_public_name_is_there() -> None:
    assert set(st_ray.__all__) == set(st_ray._PLACES)
    for name in st_ray.__all__:
        assert getattr(st_ray, name).__name__ == name
        assert getattr(st_ray, name).__module__ == st_ray._PLACES[name]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = st_ray.nothing
