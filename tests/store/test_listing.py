"""What a job has finished is read by its manifest: nothing lists it. Texts are listed, and that is all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.hit_sets import open_hit_set
from st_ray.store.output import OutputFolder
from st_ray.store.readers.folders import expand
from tests.faulty_store import FaultyStore
from tests.rankings import write_hits
from tests.stores import vectors, write_store


def test_what_is_finished_is_not_listed(s3: str, tmp_path: Path, store_server: FaultyStore) -> None:
    place = f"{s3}/{tmp_path.name}"
    write_hits(f"{place}/hits", {"q1": [("d1", 1.0)], "q2": [("d2", 1.0)]}, cuts=(1,))
    write_store(f"{place}/store", vectors(20))
    store_server.listed.clear()
    assert [len(part.read()) for part in open_hit_set(f"{place}/hits").parts] == [1, 1]
    assert len(StoredVectors.open(f"{place}/store").take(np.arange(20))) == 20
    assert OutputFolder(f"{place}/store", "embeddings").manifest() is not None
    assert OutputFolder(f"{place}/none", "embeddings").manifest() is None
    assert not fs.is_file(f"{place}/none")
    assert store_server.listed == []
    assert fs.list_files(f"{place}/hits/data")  # they would be counted
    assert store_server.listed == [f"bucket/{tmp_path.name}/hits/data/"]


def test_a_folder_of_texts_is_asked_for_as_a_whole(s3: str, tmp_path: Path, store_server: FaultyStore) -> None:
    place = f"{s3}/{tmp_path.name}/texts"
    for number in range(12):
        fs.write_atomic(f"{place}/{number:02d}.jsonl", b'{"text": "a"}\n')
    asked: Counter[str] = Counter()

    def noted(method: str, path: str) -> str:
        asked[method] += 1
        return ""

    with store_server.failing(noted):
        assert len(expand(place).files) == 12
    assert asked == {"HEAD": 1, "GET": 3}  # whether it is a file, or a folder; its kind; all that is in it
