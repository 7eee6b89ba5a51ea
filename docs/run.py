"""Runs the commands of pages: `python -m docs.run [PAGE ...] [--write]`.

All pages share one folder that looks like a fresh clone; a page is run behind those that its line `Needs: ` names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from docs.markdown import ROOT, Block, blocks_of, needs_of, pages, with_outputs

_CLONED = ("Makefile", "README.md", "benchmarks", "docs", "jobs", "st_ray")
_SECONDS = 900
"""That a block may take."""


class Clone:
    """A folder that looks like a fresh clone after `make setup`.

    Args:
        folder: new or empty.
        environment: what the commands find in theirs, besides what is in ours.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._outputs: dict[Path, dict[int, str]] = {}
        self._environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(folder), **(environment or {})}
        for name in _CLONED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder / name)
        (folder / ".venv").symlink_to(sys.prefix)

    def run(self, page: Path) -> dict[int, str]:
        """Run a page, behind those that it needs, once.

        Returns:
            What its blocks of output should hold, by the numbers of the lines at which they begin.

        Raises:
            RuntimeError: a command failed; page and line are named.
        """
        if page not in self._outputs:
            text = page.read_text()
            for needed in needs_of(text):
                self.run((page.parent / needed).resolve())
            self._outputs[page] = self._run_blocks(page, blocks_of(text))
        return self._outputs[page]

    def _run_blocks(self, page: Path, blocks: list[Block]) -> dict[int, str]:
        outputs: dict[int, str] = {}
        printed = ""
        for block in blocks:
            if block.is_output:
                outputs[block.line] = printed
            elif (block.is_shell or block.is_python) and block.not_run is None:
                printed = self._printed(f"{page.relative_to(ROOT)}, line {block.line}", block)
        return outputs

    def _printed(self, place: str, block: Block) -> str:
        program = ["bash", "-euo", "pipefail", "-c"] if block.is_shell else [".venv/bin/python", "-c"]
        ended = subprocess.run(
            [*program, block.text],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(
                f"{place}: exit status {ended.returncode}\n{block.text}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
            )
        return ended.stdout


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="files; all by default")
    parser.add_argument("--write", action="store_true", help="put what was printed into the pages")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="st-ray-docs-") as folder:
        clone = Clone(Path(folder))
        for page in [page.resolve() for page in args.pages] or pages():
            begun = time.monotonic()
            outputs = clone.run(page)
            if args.write:
                page.write_text(with_outputs(page.read_text(), outputs))
            print(f"{time.monotonic() - begun:6.0f} s  {page.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    main()
