"""What a job has finished is read by its manifest: nothing lists it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.hit_sets import open_hit_set
from st_ray.store.output import OutputFolder
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
