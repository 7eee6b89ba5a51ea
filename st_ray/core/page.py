"""A report as one HTML file that needs nothing beside it: no script, all pictures within."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

from st_ray.core.chart import CHART_STYLE, PALETTE

_STYLE = (
    f"""{PALETTE}{CHART_STYLE}@media (prefers-color-scheme: dark) {{
  figure:not(.chart) svg {{ filter: invert(1) hue-rotate(180deg) brightness(.9); mix-blend-mode: screen; }}
}}
"""
    + """body { margin: 0 auto; max-width: 62.5rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: .5rem 0 1rem; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 0; font-size: 1.2rem; overflow-wrap: anywhere; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30.5rem), 1fr)); gap: 2rem 1.5rem; }
header, .wide { grid-column: 1 / -1; }
section { min-width: 0; padding-top: 1.25rem; border-top: 1px solid var(--line); }
p { margin: .25rem 0 0; max-width: 44rem; color: var(--soft); }
.body { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; margin-top: 1rem; }
.table, figure { max-width: 100%; overflow-x: auto; margin: 0; }
figure { box-sizing: border-box; padding: .5rem; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--back); }
figure svg { display: block; max-width: 100%; height: auto; }
figure.chart { padding: 0; border: 0; }
pre { box-sizing: border-box; max-width: 100%; margin: 0; padding: .75rem; border: 1px solid var(--line);
  border-radius: .5rem; font: .875rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 1.25rem; }
a { color: var(--mark); }
table { border-collapse: collapse; }
th, td { padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; }
tbody th { font-weight: 400; color: var(--soft); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th:last-child, td:last-child { padding-right: .25rem; }
.facts td { overflow-wrap: anywhere; }
.facts th { white-space: nowrap; }
@media (max-width: 32rem) {
  body { padding: .75rem; }
  th, td { padding-right: .6rem; }
  figure { padding: .25rem; }
}
@media print {
  :root { --text: #000000; --soft: #444444; --line: #bbbbbb; --back: #ffffff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  main { display: block; }
  section { margin-top: 1.5rem; }
  figure, pre, .table { break-inside: avoid; overflow: visible; }
  h2, p { break-after: avoid; }
  figure:not(.chart) svg { filter: none; mix-blend-mode: normal; }
}
"""
)
_NUMBER = re.compile(r"[-+−]?\d[\d.,]*(e[-+]?\d+)?( ?%)?|nan|-?inf|[-–—]?", re.IGNORECASE)
_SMALLEST = 0.68
"""Of a picture's own size: on a narrower screen it is scrolled, so that its text can be read."""
_WIDE = 640
"""Pixels: above it, a picture takes the page's whole width."""


@dataclass(frozen=True)
class Section:
    """One finding: a heading and, each if there is any, a sentence or two, a picture, tables, links and words to copy.

    Attributes:
        title: the heading; also what is read out for the picture.
        text: below the title.
        rows: of the table, all of one length; the first is its head. Columns of numbers are aligned to the right.
        picture: SVG, with a width in points; a chart of `st_ray.core.chart` has the colours of the page.
        facts: names and what they are, as a table of its own.
        links: names and paths of other pages, relative to this one: below its folder.
        code: as it is to be typed.
    """

    title: str
    text: str = ""
    rows: Sequence[tuple[str, ...]] = ()
    picture: bytes = b""
    facts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    code: str = ""


def report_page(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> bytes:
    """A page of HTML in UTF-8: the title, the facts as a table, and the sections. Any text may hold any character."""
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header>\n<h1>{escape(title)}</h1>\n",
        *_facts(facts),
        "</header>\n",
        *(part for number, section in enumerate(sections) for part in _section(section, f"s{number}-")),
        "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts).encode("utf-8", "replace")


def _facts(facts: Mapping[str, str]) -> Iterator[str]:
    if facts:
        yield '<table class="facts">\n<tbody>\n'
        for name, value in facts.items():
            yield f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n'
        yield "</tbody>\n</table>\n"


def _links(links: Mapping[str, str]) -> Iterator[str]:
    """None of them leads to another place, or runs anything, whatever its path is."""
    if links:
        yield "<ul>\n"
        for name, path in links.items():
            yield f'<li><a href="./{escape(quote(path))}">{escape(name)}</a></li>\n'
        yield "</ul>\n"


def _section(section: Section, prefix: str) -> Iterator[str]:
    figure, width = _figure(section.picture, section.title, prefix) if section.picture else ("", 0.0)
    wide = ' class="wide"' if width > _WIDE else ""
    yield f"<section{wide}>\n<h2>{escape(section.title)}</h2>\n"
    if section.text:
        yield f"<p>{escape(section.text)}</p>\n"
    yield '<div class="body">\n'
    yield figure
    if section.rows:
        yield from _table(section.rows)
    yield from _facts(section.facts)
    yield from _links(section.links)
    if section.code:
        yield f"<pre>{escape(section.code)}</pre>\n"
    yield "</div>\n</section>\n"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    head, *body = rows
    columns = zip(*body, strict=True) if body else ([""] for _ in head)
    marks = [' class="number"' if _is_numbers(column) else "" for column in columns]
    yield '<div class="table"><table>\n<thead>\n<tr>'
    yield from (f'<th scope="col"{mark}>{escape(cell)}</th>' for cell, mark in zip(head, marks, strict=True))
    yield "</tr>\n</thead>\n<tbody>\n"
    for first, *others in body:
        yield f'<tr><th scope="row"{marks[0]}>{escape(first)}</th>'
        yield from (f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(others, marks[1:], strict=True))
        yield "</tr>\n"
    yield "</tbody>\n</table></div>\n"


def _is_numbers(cells: Iterable[str]) -> bool:
    """Whether each cell is a number, or stands for one that is missing."""
    return all(_NUMBER.fullmatch(cell.strip()) for cell in cells)


def _figure(picture: bytes, label: str, prefix: str) -> tuple[str, float]:
    """An SVG file as an element of an HTML page, which knows SVG without namespaces, and its width in pixels.

    Ids, and what refers to them, get `prefix`: pictures of one page may have the same.
    """
    root = ET.fromstring(picture)
    for metadata in root.findall("{*}metadata"):
        root.remove(metadata)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _prefixed(_local(key), value, prefix) for key, value in element.attrib.items()}
    width = float(root.get("width", "0pt").removesuffix("pt")) / 0.75
    root.attrib |= {"role": "img", "aria-label": label, "style": f"min-width: {_SMALLEST * width:.0f}px"}
    kind = ' class="chart"' if root.get("class") == "chart" else ""
    return f"<figure{kind}>{ET.tostring(root, encoding='unicode')}</figure>\n", width


def _prefixed(key: str, value: str, prefix: str) -> str:
    """The value of an attribute, with `prefix` before the id that it is or refers to."""
    if key == "id":
        return prefix + value
    if key == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    return value.replace("url(#", f"url(#{prefix}")


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
