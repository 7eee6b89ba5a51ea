"""The texts of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

WORDNET = Path("/usr/share/wordnet")
CRANFIELD = Path(__file__).resolve().parents[2] / "shared" / "data" / "cranfield" / "corpus.jsonl"


def glosses(count: int) -> list[str]:
    """The first `count` glosses of WordNet 3.0, a definition and examples of a word each, in a fixed mixed order."""
    return [gloss for _, gloss in mixed(entries())[:count]]


def words_and_glosses(count: int) -> tuple[list[str], list[str]]:
    """The words of the first `count` entries of WordNet 3.0, and their glosses; words occur once."""
    first: dict[str, str] = {}
    for words, gloss in mixed(entries()):
        first.setdefault(words, gloss)
    return list(first)[:count], list(first.values())[:count]


def entries() -> list[tuple[str, str]]:
    """(words, gloss) of each entry of WordNet 3.0, in the order of its files (format: wndb(5WN))."""
    files = [WORDNET / f"data.{part}" for part in ("noun", "verb", "adj", "adv")]
    if not all(file.exists() for file in files):
        raise SystemExit(f"{WORDNET} is missing: install it with `apt-get install wordnet-base`, and run again")
    found = []
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            if "| " in line and not line.startswith("  "):
                head, _, gloss = line.partition("| ")
                fields = head.split()
                words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                found.append((", ".join(words).replace("_", " "), gloss.strip()))
    return found


def mixed(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """All rows in a fixed order that has nouns, verbs and adjectives in turn."""
    return [rows[row * 7919 % len(rows)] for row in range(len(rows))]  # a prime


def abstracts() -> list[str]:
    """Title and text of the 1,400 documents of Cranfield; empty where the collection is not at hand."""
    if not CRANFIELD.exists():
        return []
    rows = map(json.loads, CRANFIELD.read_text(encoding="utf-8").splitlines())
    return [f"{row['title']} {row['text']}" for row in rows]


def turned(texts: list[str], times: int = 3) -> list[str]:
    """The texts, and all of them again with their words begun at another one: a job over few is over before it runs."""
    found = list(texts)
    for turn in range(1, times):
        for words in map(str.split, texts):
            first = turn * len(words) // times
            found.append(" ".join(words[first:] + words[:first]))
    return found
