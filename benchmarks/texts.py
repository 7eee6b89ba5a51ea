"""The texts of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

WORDNET = Path("/usr/share/wordnet")
CRANFIELD = Path(__file__).resolve().parents[2] / "shared" / "data" / "cranfield" / "corpus.jsonl"


def glosses(count: int) -> list[str]:
    """The first `count` glosses of WordNet 3.0, a definition and examples of a word each, in a fixed mixed order."""
    files = [WORDNET / f"data.{part}" for part in ("noun", "verb", "adj", "adv")]
    if not all(file.exists() for file in files):
        raise SystemExit(f"{WORDNET} is missing: install it with `apt-get install wordnet-base`, and run again")
    found = [
        line.partition("| ")[2].strip()
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if "| " in line and not line.startswith("  ")
    ]
    step = 7919  # a prime: nouns, verbs and adjectives in turn
    return [found[row * step % len(found)] for row in range(min(count, len(found)))]


def abstracts() -> list[str]:
    """Title and text of the 1,400 documents of Cranfield; empty where the collection is not at hand."""
    if not CRANFIELD.exists():
        return []
    rows = map(json.loads, CRANFIELD.read_text(encoding="utf-8").splitlines())
    return [f"{row['title']} {row['text']}" for row in rows]
