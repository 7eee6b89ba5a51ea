"""The quickstart's corpus: descriptions in the docstrings of installed packages, read without importing them."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import io
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.store import fs

PACKAGES = ("numpy", "scipy", "sklearn", "pandas", "pyarrow", "datasets", "torch", "ray")
_SHORTEST, _LONGEST = 40, 600
_SECTION = re.compile(
    r"\n\s*(?:[A-Z][A-Za-z ]+\n\s*[-=~]{3,}|(?:Args?|Arguments|Parameters|Returns?|Raises|Examples?):)"
)
_SKIPPED_FOLDERS = {"tests", "test", "testing", "__pycache__", "vendored", "_vendor", "thirdparty_files"}


def write_docstring_corpus(url: str, limit: int) -> int:
    """Write `id` (qualified name), `text` and `package` of up to `limit` docstrings to the Parquet file `url`.

    Returns:
        The number of texts. Each package gives an equal share, and what one lacks the others fill.

    Raises:
        InputError: none of the packages is installed.
    """
    installed = [name for name in PACKAGES if importlib.util.find_spec(name)]
    with ProcessPoolExecutor() as pool:
        found = dict(zip(installed, pool.map(_docstrings_of, installed), strict=True))
    rows = _share(found, limit)
    if not rows:
        raise InputError(f"none of {', '.join(PACKAGES)} is installed", "run `make setup`")
    ids, texts, packages = zip(*rows, strict=True)
    table = pa.table({"id": list(ids), "text": list(texts), "package": list(packages)})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    fs.write_atomic(url, sink.getvalue())
    return len(rows)


def _share(found: dict[str, dict[str, str]], limit: int) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for position, (package, texts) in enumerate(sorted(found.items(), key=lambda item: len(item[1]))):
        quota = (limit - len(rows)) // (len(found) - position)
        step = max(1.0, len(texts) / max(quota, 1))
        names = sorted(texts)
        chosen = [names[int(n * step)] for n in range(min(quota, len(names)))]
        rows += [(name, texts[name], package) for name in chosen]
    return sorted(rows)


def _docstrings_of(package: str) -> dict[str, str]:
    return dict(_find_docstrings(package))


def _find_docstrings(package: str) -> Iterator[tuple[str, str]]:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return
    root = Path(next(iter(spec.submodule_search_locations)))
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root.parent)
        if _SKIPPED_FOLDERS.isdisjoint(inside.parts):
            module = ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
            yield from _docstrings_in(path, module)


def _docstrings_in(path: Path, module: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # a template or a file for another Python
    yield from _walk(tree, module)


def _walk(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
) -> Iterator[tuple[str, str]]:
    text = _description(ast.get_docstring(node) or "")
    if len(text) >= _SHORTEST:
        yield name, text
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for child in node.body:
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and child.name[0] != "_":
                yield from _walk(child, f"{name}.{child.name}")


def _description(docstring: str) -> str:
    """What stands before the first section, as one line of at most `_LONGEST` characters."""
    text = " ".join(_SECTION.split(docstring, maxsplit=1)[0].split())
    return text if len(text) <= _LONGEST else text[:_LONGEST].rsplit(" ", 1)[0]


def installed_versions() -> str:
    """Names and versions of the packages, for telling whether an older corpus still fits."""
    known = importlib.metadata.packages_distributions()
    names = sorted({dist for package in PACKAGES for dist in known.get(package, [])})
    return " ".join(f"{name}={importlib.metadata.version(name)}" for name in names)
