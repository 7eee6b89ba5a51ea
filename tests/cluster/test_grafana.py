"""The dashboard: what its queries name is what the code counts."""

from __future__ import annotations

import json
import re

from st_ray.runtime.metrics import METRICS
from tests.conftest import ROOT

DASHBOARD = json.loads((ROOT / "cluster" / "grafana.json").read_text())
PANELS = DASHBOARD["panels"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
LABELS = {"job_name", "output", "stage", "le", *(label for metric in METRICS for label in metric.labels)}


def exposed() -> set[str]:
    """The names that Ray's agents give them."""
    ends = {True: ("_bucket", "_sum", "_count"), False: ("",)}
    return {f"ray_{metric.name}{end}" for metric in METRICS for end in ends[bool(metric.boundaries)]}


def queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_query_names_what_is_counted_and_all_that_is_counted_is_shown() -> None:
    asked = [*queries(), *(variable["definition"] for variable in VARIABLES.values() if "definition" in variable)]
    named = [set(re.findall(r"\bray_\w+", query)) for query in asked]
    assert all(named)
    assert set().union(*named) <= exposed()
    shown = {re.sub("_(bucket|sum|count)$", "", name.removeprefix("ray_")) for name in set().union(*named)}
    assert shown == {metric.name for metric in METRICS}


def test_every_label_and_variable_is_known() -> None:
    for query in queries():
        grouped = re.findall(r"by \(([^)]*)\)", query)
        matched = re.findall(r"(\w+)=~", query)
        assert {label.strip() for group in grouped for label in group.split(",")} | set(matched) <= LABELS, query
        assert set(re.findall(r"\$(\w+)", query)) - {"__rate_interval"} <= set(VARIABLES), query
        assert query.count("(") == query.count(")")
    for panel in PANELS:
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= LABELS


def test_panels_have_units_and_a_place_of_their_own() -> None:
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)
    assert all(panel["description"] and panel["datasource"]["uid"] == "${datasource}" for panel in PANELS)
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS}) == len(PANELS)
