"""README and docs/: generated parts are up to date, links lead somewhere, and every command has flags that exist."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs.commands import commands_of, module_of
from docs.generate import PAGES, config_of, generated, job_names
from docs.markdown import ROOT, Block, anchors_of, blocks_of, links_of, needs_of, pages
from jobs._cli import parse

NAMES = [str(page.relative_to(ROOT)) for page in pages()]
NOT_RUN = {
    "README.md": [
        "sets up an environment",
        "docs/jobs/quickstart.md runs the same job",
        "needs AWS",
        "a line of a crontab",
    ],
    "docs/jobs/train_cross_encoder.md": ["takes a quarter of an hour, and the Cranfield collection"],
}
"""Blocks of commands that are not run, by page, with the reasons that stand before them."""


def blocks(name: str) -> list[Block]:
    return blocks_of((ROOT / name).read_text())


def test_generated_parts_are_up_to_date() -> None:
    for page, text in generated().items():
        assert page.exists() and page.read_text() == text, f"{page}: run `make docs`"


def test_which_commands_are_not_run() -> None:
    found = {name: [block.not_run for block in blocks(name) if block.not_run] for name in NAMES}
    assert {name: reasons for name, reasons in found.items() if reasons} == NOT_RUN


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"docs/extending.md"}))  # it changes what there is to parse
def test_every_command_can_be_parsed(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in blocks(name):
        if block.is_python:
            compile(block.text, name, "exec")
        if not block.is_shell:
            continue
        for command in commands_of(block.text):
            if command[0] == "make":
                assert set(command[1:]) <= targets, command
            module, arguments = module_of(command) or ("", [])
            package, _, job = module.partition(".")
            if package == "jobs" and job in job_names():
                parse(config_of(job), arguments)  # exits, or raises ConfigError
            elif package in ("benchmarks", "docs"):
                assert find_spec(module), command


def test_outputs_stand_behind_commands_that_are_run() -> None:
    for name in NAMES:
        before = None
        for block in blocks(name):
            if block.is_output:
                assert before is not None, f"{name}, line {block.line}"
                assert before.not_run is None, f"{name}, line {block.line}"
            before = block


@pytest.mark.parametrize("job", job_names())
def test_every_job_has_an_example_that_is_run(job: str) -> None:
    run = [block for block in blocks_of((PAGES / f"{job}.md").read_text()) if block.is_shell and not block.not_run]
    modules = [module_of(command) for block in run for command in commands_of(block.text)]
    assert f"jobs.{job}" in [found[0] for found in modules if found]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for link in links_of(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors_of(target.read_text()), f"{name}: {link}"


def test_every_page_is_linked() -> None:
    texts = {page: page.read_text() for page in pages()}
    linked = {
        (page.parent / link.partition("#")[0]).resolve() for page, text in texts.items() for link in links_of(text)
    }
    assert set(pages()) <= linked | {ROOT / "README.md"}


def test_no_page_needs_itself() -> None:
    def check(page: Path, behind: tuple[Path, ...] = ()) -> None:
        assert page not in behind, page
        for needed in needs_of(page.read_text()):
            check((page.parent / needed).resolve(), (*behind, page))

    for page in pages():
        check(page)
