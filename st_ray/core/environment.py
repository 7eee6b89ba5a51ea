"""What is installed here, found out without importing any of it."""

from __future__ import annotations

import importlib.util
from importlib.machinery import PathFinder


def is_training_available() -> bool:
    """Whether what training needs is installed: Ray Train and datasets."""
    return _is_installed("datasets") and _has_submodule("ray", "train")


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _has_submodule(package: str, name: str) -> bool:
    # find_spec("package.name") would import the package.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return False
    return PathFinder.find_spec(f"{package}.{name}", spec.submodule_search_locations) is not None
