"""Pages as text: their code blocks with the marks before them, their links, and parts that are generated.

A comment before a block of commands says that it is not run, and why: `<!-- not run: needs AWS -->`. The comment
`<!-- output -->` before a block of text says that it is what the commands above it printed. What stands between
`<!-- NAME -->` and `<!-- end of NAME -->` is generated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_OUTPUT = "<!-- output -->"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_NEEDS = re.compile(r"^(?:<!-- )?Needs: .*", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        language: what stands behind the opening fence.
        line: number of the line of that fence, from 1.
        mark: the line of text before the block.
    """

    language: str
    text: str
    line: int
    mark: str

    @property
    def is_shell(self) -> bool:
        """Whether it holds commands."""
        return self.language in ("sh", "bash")

    @property
    def is_python(self) -> bool:
        """Whether it holds Python."""
        return self.language == "python"

    @property
    def is_output(self) -> bool:
        """Whether it is what the commands above it printed."""
        return self.mark == _OUTPUT

    @property
    def not_run(self) -> str | None:
        """Why it is not run; None: it is."""
        found = _NOT_RUN.fullmatch(self.mark)
        return found[1] if found else None


def pages() -> list[Path]:
    """The README and all pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: str) -> list[Block]:
    """The code blocks of a page, from top to bottom. Raises ValueError for one that is not closed."""
    blocks: list[Block] = []
    mark = ""
    lines = enumerate(page.splitlines(), 1)
    for number, line in lines:
        if not line.startswith("```"):
            mark = line.strip() or mark
            continue
        body: list[str] = []
        for _, inner in lines:
            if inner.startswith("```"):
                break
            body.append(inner + "\n")
        else:
            raise ValueError(f"the code block of line {number} is not closed")
        blocks.append(Block(line[3:].strip(), "".join(body), number, mark))
        mark = ""
    return blocks


def with_outputs(page: str, outputs: Mapping[int, str]) -> str:
    """The page with other outputs, by the numbers of the lines at which their blocks begin."""
    lines = page.splitlines(keepends=True)
    for block in reversed(blocks_of(page)):
        if block.line in outputs:
            lines[block.line : block.line + block.text.count("\n")] = [outputs[block.line]]
    return "".join(lines)


def with_part(page: str, name: str, content: str) -> str:
    """The page with its generated part `name` made anew. Raises ValueError where it has no such part."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no lines {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{content}{end}{after}"


def links_of(page: str) -> list[str]:
    """Where the links and pictures outside of code blocks lead."""
    for block in blocks_of(page):
        page = page.replace(block.text, "", 1)
    return _LINK.findall(page)


def needs_of(page: str) -> list[str]:
    """The pages, as links, whose commands must have been run before: those of lines that begin with `Needs: `."""
    return [link for line in _NEEDS.findall(page) for link in _LINK.findall(line)]


def anchors_of(page: str) -> set[str]:
    """What links may name behind a #, one for each heading, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
