"""The sample: the same for a seed, from all over the corpus, whatever the format and the cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from st_ray.store.readers import cut_shards
from st_ray.store.readers.sample import sample_texts
from tests.store.readers.writing import SPEC, encode, scan_all

ROWS: list[tuple[Any, str]] = [(f"id-{number}", f"text {number}") for number in range(500)]


def sample(folder: Path, names: dict[str, bytes], count: int, seed: int = 0, shard_rows: int = 70) -> list[str]:
    for name, data in names.items():
        (folder / name).write_bytes(data)
    paths = [folder / name for name in names]
    files, spec, scans = scan_all(paths, SPEC, shard_rows, staging=folder / "staging")
    return sample_texts(cut_shards(files, scans, shard_rows), spec, count, seed)


@pytest.mark.parametrize("extension", ["jsonl", "csv", "parquet", "arrow", "jsonl.gz"])
def test_rows_from_all_over_every_format(extension: str, tmp_path: Path) -> None:
    names = {f"one.{extension}": encode(extension, ROWS[:230]), f"two.{extension}": encode(extension, ROWS[230:])}
    texts = sample(tmp_path, names, 64)
    numbers = [int(text.split()[1]) for text in texts]
    assert len(set(numbers)) == len(numbers) == 64
    assert set(texts) <= {text for _, text in ROWS}
    # A run of rows in each eighth of the corpus.
    assert {number * 8 // 500 for number in numbers} == set(range(8))
    assert sample(tmp_path, names, 64) == texts
    assert sample(tmp_path, names, 64, seed=1) != texts


def test_a_small_corpus_is_its_own_sample(tmp_path: Path) -> None:
    names = {"c.jsonl": encode("jsonl", ROWS[:30])}
    assert sample(tmp_path, names, 64, shard_rows=7) == [text for _, text in ROWS[:30]]
    assert sample(tmp_path, names, 30, shard_rows=7) == [text for _, text in ROWS[:30]]


def test_bad_rows_are_left_out(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(number), "text": None if number % 3 else str(number)}) for number in range(40)]
    names = {"c.jsonl": "\n".join(lines).encode()}
    assert sample(tmp_path, names, 100) == [str(number) for number in range(0, 40, 3)]
    some = sample(tmp_path, names, 16)
    assert some
    assert all(int(text) % 3 == 0 for text in some)


def test_every_row_has_its_chance(tmp_path: Path) -> None:
    names = {"c.jsonl": encode("jsonl", ROWS[:60])}
    seen = {text for seed in range(60) for text in sample(tmp_path, names, 16, seed)}
    assert seen == {text for _, text in ROWS[:60]}
