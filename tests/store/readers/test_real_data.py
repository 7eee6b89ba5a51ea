"""Real corpora: STSb as a CSV file without a header, Cranfield as a BEIR folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from st_ray.store.readers import ReadSpec, ValueColumn
from tests.store.readers.writing import read_all, rows_of, values_of

DATA = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.mark.skipif(not (DATA / "stsb").is_dir(), reason="the STS benchmark is not at ../shared/data/stsb")
def test_stsb() -> None:
    path = DATA / "stsb" / "dev.csv"
    with path.open(newline="", encoding="utf-8") as file:
        expected = [f"{one} {other}" for one, other, _ in csv.reader(file)]
    spec = ReadSpec(text_columns=("one", "other"), columns=("one", "other", "score"))
    blocks, _ = read_all([path], spec, 333, mark_every=100)
    assert len(expected) == 1500
    assert rows_of(blocks) == [(number, number, text) for number, text in enumerate(expected)]


@pytest.mark.skipif(not (DATA / "stsb").is_dir(), reason="the STS benchmark is not at ../shared/data/stsb")
def test_labelled_pairs_of_stsb() -> None:
    path = DATA / "stsb" / "dev.csv"
    with path.open(newline="", encoding="utf-8") as file:
        expected = [(one, other, float(score)) for one, other, score in csv.reader(file)]
    values = (ValueColumn("other", "text"), ValueColumn("score", "number"))
    blocks, _ = read_all([path], ReadSpec(text_columns=("one",), columns=("one", "other", "score"), values=values), 333)
    assert len(expected) == 1500
    assert values_of(blocks) == expected


@pytest.mark.skipif(not (DATA / "cranfield").is_dir(), reason="Cranfield is not at ../shared/data/cranfield")
def test_cranfield() -> None:
    lines = (DATA / "cranfield" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    blocks, _ = read_all([DATA / "cranfield"], ReadSpec(), 500)
    assert len(documents) == 1400
    assert rows_of(blocks) == [(n, d["_id"], d["title"] + " " + d["text"]) for n, d in enumerate(documents)]
