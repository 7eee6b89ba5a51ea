"""The page of a report: well-formed, complete in itself, and safe whatever the data is called."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from st_ray.core.chart import bar_chart
from st_ray.core.page import Section, report_page
from st_ray.evaluation.plots import confusion, predicted_by_gold, query_values
from st_ray.evaluation.threshold_plots import calibration
from tests.conftest import ROOT

HOSTILE = "<b>&amp; \"'</script><script>alert(1)</script> 漢字"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Elements in order, each with its tag, attributes and own text; every tag is closed where it should be."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(page.decode("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1][2].append(data)

    def texts(self, tag: str) -> list[str]:
        return ["".join(text).strip() for name, _, text in self.elements if name == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]


def pictures() -> list[bytes]:
    random = np.random.default_rng(0)
    scores, labels = random.random(3000), random.integers(0, 2, 3000)
    return [
        calibration(scores, labels),
        predicted_by_gold(scores, scores + labels, 0.5, 0.5),  # has an image, and cells
        query_values({HOSTILE: scores, "AP": scores}),
        calibration(scores, labels),  # once more: all of its ids are twice
    ]


@pytest.fixture(scope="module")
def page() -> bytes:
    facts = {"model": "cross-encoder/x", "data": HOSTILE}
    table = (("metric", "value", "at"), ("F1", "0.9123", "0.5"), (HOSTILE, "1,234", "-"))
    sections = [Section(f"Part {number}", HOSTILE, table, picture) for number, picture in enumerate(pictures())]
    return report_page(HOSTILE, facts, [*sections, Section("Words alone", "No more.")])


def test_the_same_bytes() -> None:
    section = Section("Part", "", (), pictures()[0])
    assert report_page("t", {}, [section]) == report_page("t", {}, [Section("Part", "", (), pictures()[0])])


def test_structure(page: bytes) -> None:
    parsed = Page(page)
    assert page.startswith(b"<!DOCTYPE html>\n")
    assert parsed.attributes("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in parsed.attributes("meta")
    assert any(meta.get("name") == "viewport" for meta in parsed.attributes("meta"))
    assert parsed.texts("h2") == ["Part 0", "Part 1", "Part 2", "Part 3", "Words alone"]
    assert len(parsed.attributes("table")) == 5
    assert len(parsed.attributes("figure")) == len(parsed.attributes("svg")) == 4


def test_names_are_shown_and_never_run(page: bytes) -> None:
    parsed = Page(page)
    assert parsed.texts("title") == parsed.texts("h1") == [HOSTILE]
    assert parsed.texts("p") == [HOSTILE] * 4 + ["No more."]
    assert parsed.texts("td")[:2] == ["cross-encoder/x", HOSTILE]
    assert {tag for tag, _, _ in parsed.elements}.isdisjoint({"script", "b", "a", "link", "iframe", "object"})
    assert not [key for _, attributes, _ in parsed.elements for key in attributes if key.startswith("on")]


def test_nothing_is_loaded(page: bytes) -> None:
    assert b"http" not in page
    assert b"@import" not in page
    for _, attributes, _ in Page(page).elements:
        assert "src" not in attributes
        reference = attributes.get("href", attributes.get("xlink:href")) or "#"
        assert reference.startswith(("#", "data:image/png;base64,"))


def test_ids_are_unique_and_references_meet(page: bytes) -> None:
    parsed = Page(page)
    ids = [attributes["id"] for _, attributes, _ in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 100
    values = [value or "" for _, attributes, _ in parsed.elements for value in attributes.values()]
    named = {name for value in values for name in re.findall(r"url\(#([^)]+)\)|^#(?=\w+-)(.+)", value)}
    wanted = {first or second for first, second in named}
    assert wanted <= set(ids)
    assert {name.split("-")[0] for name in wanted} == {"s0", "s1", "s2", "s3"}
    assert "#ffffff" not in wanted


def test_a_picture_refers_to_itself_alone() -> None:
    svg = (
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        b'width="100pt"><metadata/><defs><path id="abc" fill="#abc"/></defs><use xlink:href="#abc"/>'
        b'<g style="clip-path: url(#abc)"><text>id="abc" &lt;b></text></g></svg>'
    )
    text = report_page("t", {}, [Section("S", picture=svg)]).decode()
    assert '<path id="s0-abc" fill="#abc" />' in text
    assert '<use href="#s0-abc" />' in text
    assert 'style="clip-path: url(#s0-abc)"' in text
    assert '<text>id="abc" &lt;b&gt;</text>' in text
    assert "<?xml" not in text
    assert "metadata" not in text


def test_pictures_are_described(page: bytes) -> None:
    for number, svg in enumerate(Page(page).attributes("svg")):
        assert svg["role"] == "img"
        assert svg["aria-label"] == f"Part {number}"
        assert "xmlns" not in svg


def test_a_wide_picture_takes_the_whole_width() -> None:
    names = [f"class {at}" for at in range(20)]
    sections = [Section("S", picture=confusion(np.eye(count, dtype=int), names[:count])) for count in (2, 20)]
    assert Page(report_page("t", {}, sections)).attributes("section") == [{}, {"class": "wide"}]


def test_a_chart_has_the_colours_of_the_page_and_other_pictures_are_inverted() -> None:
    chart = bar_chart([("a", 1.0, "b")])
    page = report_page("t", {}, [Section("One", picture=chart), Section("Two", picture=pictures()[0])])
    assert Page(page).attributes("figure") == [{"class": "chart"}, {}]
    style = page.decode().partition("</style>")[0]
    assert "figure:not(.chart) svg { filter: invert" in style.partition("prefers-color-scheme: dark")[2]
    for name in ("mark", "back", "line"):
        assert f"svg.chart .{name} {{" in style


def test_facts_and_code_of_a_section() -> None:
    parsed = Page(report_page("t", {}, [Section("S", facts={HOSTILE: HOSTILE}, code=HOSTILE + "\n  indented")]))
    assert parsed.texts("td") == [HOSTILE]
    assert parsed.texts("pre") == [HOSTILE + "\n  indented"]
    assert {"class": "facts"} in parsed.attributes("table")


def test_links_lead_to_what_lies_beside_the_page() -> None:
    paths = [HOSTILE, "javascript:alert(1)", "//elsewhere/x", "embeddings/report.html"]
    parsed = Page(report_page("t", {}, [Section("S", links={f"{path} {HOSTILE}": path for path in paths})]))
    assert parsed.texts("a") == [f"{path} {HOSTILE}" for path in paths]
    found = [attributes["href"] or "" for attributes in parsed.attributes("a")]
    assert all(re.fullmatch(r"\./[\w/.%-]+", href) for href in found)
    assert [unquote(href) for href in found] == [f"./{path}" for path in paths]


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (["0.5", "1,234"], True),
        (["-1.5e-05", "12 %"], True),
        (["nan", "–", ""], True),
        (["1", "-inf", "99.9%"], True),
        (["0.5", "see below"], False),
        (["2026-11-21"], False),
        (["1.5 MiB"], False),
        (["x1"], False),
    ],
)
def test_numbers_stand_to_the_right(cells: list[str], right: bool) -> None:
    rows = (("name", "head"), *(("n", cell) for cell in cells))
    parsed = Page(report_page("t", {}, [Section("S", rows=rows)]))
    mark = {"class": "number"} if right else {}
    assert parsed.attributes("td") == [mark] * len(cells)
    assert [head for head in parsed.attributes("th") if head["scope"] == "col"] == [
        {"scope": "col"},
        {"scope": "col", **mark},
    ]
    assert [head for head in parsed.attributes("th") if head["scope"] == "row"] == [{"scope": "row"}] * len(cells)


def test_a_table_of_a_head_alone() -> None:
    parsed = Page(report_page("t", {}, [Section("S", rows=(("a", "b"),))]))
    assert parsed.texts("th") == ["a", "b"]
    assert parsed.texts("td") == []


def test_rows_are_of_one_length() -> None:
    with pytest.raises(ValueError, match="argument"):
        report_page("t", {}, [Section("S", rows=(("a", "b"), ("1", "2"), ("1",)))])


def test_a_name_that_is_no_text() -> None:
    """A file's name may hold bytes that are none of UTF-8."""
    assert Page(report_page("a\udcff", {"a\udcff": "b"}, [])).texts("h1") == ["a?"]


def test_every_page_is_made_by_this_module() -> None:
    """Whoever shows ids, texts or names of files leaves it to `report_page` to escape them."""
    sources = [path for folder in ("st_ray", "jobs") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 200
    makers = {path.name for path in sources if re.search(r"</?(html|body|div|td|script|iframe)\b", path.read_text())}
    assert makers == {"page.py"}
