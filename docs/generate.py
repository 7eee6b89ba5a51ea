"""What of the pages is made of the code, the tables of jobs and flags: `python -m docs.generate` brings it up to date.

A job's page is docs/jobs/NAME.md; a job without one gets one to be filled in.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import types
import typing
from pathlib import Path
from typing import Any, Literal

import jobs
from docs.markdown import ROOT, with_part
from jobs._cli import documented
from st_ray.runtime.config import Names

PAGES = ROOT / "docs" / "jobs"
ORDER = (
    "quickstart",
    "encode",
    "reembed",
    "build_index",
    "search",
    "fuse",
    "rerank",
    "evaluate_retrieval",
    "mine_paraphrases",
    "detect_communities",
    "mine_bitext",
    "mine_hard_negatives",
    "evaluate_cross_encoder",
    "evaluate_similarity",
    "score_pairs",
    "train_cross_encoder",
    "train_bi_encoder",
    "export_model",
    "compare_stores",
    "status",
)
"""In which a newcomer meets the jobs; others come behind, by name."""
_PLACEHOLDERS = {str: "TEXT", int: "N", float: "X", Names: "A,B"}
_NEW_PAGE = """# {name}

{what}

## Example

## The output

## Flags

<!-- flags -->
<!-- end of flags -->
"""


def job_names() -> list[str]:
    """All jobs."""
    found = {module.name for module in pkgutil.iter_modules(jobs.__path__) if not module.name.startswith("_")}
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def config_of(job: str) -> type[Any]:
    """The dataclass of a job's flags: what its `_run` takes."""
    module = importlib.import_module(f"jobs.{job}")
    config: type[Any] = typing.get_type_hints(module._run)["config"]
    return config


def flags_table(config: type[Any]) -> str:
    """Every flag with its default and its help, in the order of `--help`."""
    rows = ["| flag | default | |", "|---|---|---|"]
    for field, hint, text in documented(config):
        rows.append(f"| {_flag(field, hint)} | {_default(field)} | {_cell(text)} |")
    return "\n".join(rows) + "\n"


def jobs_table(folder: str) -> str:
    """Every job with what it does, and a link to its page in `folder`."""
    rows = ["| job | |", "|---|---|"]
    rows += [f"| [`{name}`]({folder}{name}.md) | {_cell(what_of(name))} |" for name in job_names()]
    return "\n".join(rows) + "\n"


def what_of(job: str) -> str:
    """What a job does, by its module's docstring."""
    return str(importlib.import_module(f"jobs.{job}").__doc__).partition("`: ")[2].strip()


def generated() -> dict[Path, str]:
    """The pages that have a generated part, as they should be."""
    found: dict[Path, str] = {}
    for name in job_names():
        page = PAGES / f"{name}.md"
        text = page.read_text() if page.exists() else _NEW_PAGE.format(name=name, what=what_of(name).capitalize())
        found[page] = with_part(text, "flags", flags_table(config_of(name)))
    for page, folder in ((ROOT / "README.md", "docs/jobs/"), (ROOT / "docs" / "README.md", "jobs/")):
        found[page] = with_part(page.read_text(), "jobs", jobs_table(folder))
    return found


def _flag(field: dataclasses.Field[Any], hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:  # tyro.conf.Positional
        return f"`{field.name.upper()} …`"
    name = field.name.replace("_", "-")
    if hint is bool:
        return f"`--{name}`, `--no-{name}`"
    return f"`--{name} {_placeholder(hint)}`"


def _placeholder(hint: Any) -> str:
    """What stands behind a flag of that type, as a cell of a table holds it."""
    if hint in _PLACEHOLDERS:
        return _PLACEHOLDERS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return r"\|".join(map(str, arguments))
    if origin is tuple:
        return f"{_placeholder(arguments[0])} …"
    if origin in (typing.Union, types.UnionType):
        return r"\|".join(_placeholder(one) for one in arguments if one is not type(None))
    raise TypeError(f"no placeholder is known for {hint}")


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING:
        return "needed"
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value in ("", ()):
        return ""
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def main() -> None:
    """Entry point."""
    for page, text in generated().items():
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
