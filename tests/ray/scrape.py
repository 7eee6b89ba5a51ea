"""Metrics as Prometheus would read them from the agent of a node."""

from __future__ import annotations

import urllib.request
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

Counted = Counter[tuple[str, frozenset[tuple[str, str]]]]
"""Values by name and labels."""


def scrape(port: int) -> Counted:
    """What the node's agent says now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        found: Counted = Counter()
        for family in families:
            for sample in family.samples:
                found[sample.name, frozenset(sample.labels.items())] += sample.value
    return found


def counted(found: Counted, name: str, **labels: str) -> float:
    """The sum of the series that have these labels."""
    return sum(value for (known, has), value in found.items() if known == name and labels.items() <= dict(has).items())
