"""What this machine has: what is installed, found out without importing any of it, and what its CPU can do."""

from __future__ import annotations

import importlib.util
from importlib.machinery import PathFinder
from pathlib import Path

_CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def is_training_available() -> bool:
    """Whether what training needs is installed: Ray Train and datasets."""
    return is_installed("datasets") and _has_submodule("ray", "train")


def cpu_has_bfloat16() -> bool:
    """Whether this machine's CPU multiplies matrices in bfloat16 (AVX512-BF16, AMX, or ARM's BF16)."""
    return bool(_CPU_BFLOAT16 & cpu_flags())


def cpu_flags() -> frozenset[str]:
    """What this machine's CPU can do, as Linux names it; nothing where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.split())


def is_installed(package: str) -> bool:
    """Whether `package` can be imported."""
    return importlib.util.find_spec(package) is not None


def _has_submodule(package: str, name: str) -> bool:
    # find_spec("package.name") would import the package.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return False
    return PathFinder.find_spec(f"{package}.{name}", spec.submodule_search_locations) is not None
