"""Index files: faiss reads them, and what is no whole one is an error that names it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import faiss
import numpy as np
import pytest

from st_ray.core.errors import InputError, OutputError
from st_ray.index import files
from st_ray.index.files import check_part, index_bytes, index_from_bytes, open_index, write_index
from st_ray.index.query import search_index
from tests.index.kinds import EXACT, MERGED, PARTS_ONLY, ROWS, filled, spec_of, vectors

DAMAGED = (*EXACT, "SQ8", "OPQ4_8,IVF8,PQ4x4", "IVF8,PQ4x4fs", "HNSW8")


@pytest.mark.parametrize("factory", [*MERGED, *PARTS_ONLY])
def test_round_trip(factory: str, tmp_path: Path) -> None:
    index, spec = filled(factory), spec_of(factory)
    queries = vectors(spec.binary)[:15]
    expected = search_index(index, spec, queries, 10, 4)
    url = str(tmp_path / "folder" / "part-00000.faiss")
    write_index(index, url)
    write_index(index, "memory://index/part.faiss")
    read = faiss.read_index_binary if spec.binary else faiss.read_index
    opened = [
        index_from_bytes(index_bytes(index), "here"),
        open_index(url),
        open_index(url, mmap=True),
        open_index("memory://index/part.faiss"),
        read(url),
    ]
    for other in opened:
        check_part(other, spec, ROWS, url)
        found = search_index(other, spec, queries, 10, 4)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["part-00000.faiss"]


@pytest.mark.parametrize("factory", EXACT)
def test_a_full_disk_is_an_error(factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "publishing", lambda path: nullcontext("/dev/full"))
    with pytest.raises(OutputError, match=r"part\.faiss: the disk at /.* is full"):
        write_index(filled(factory), str(tmp_path / "part.faiss"))


@pytest.mark.parametrize("factory", DAMAGED)
def test_a_cut_file_is_named(factory: str, tmp_path: Path) -> None:
    data = index_bytes(filled(factory))
    path = tmp_path / "part-00001.faiss"
    rng = np.random.default_rng(0)
    for length in [*range(64), *rng.integers(64, len(data), 40).tolist(), len(data) - 1]:
        path.write_bytes(data[:length])
        for mmap in (False, True):
            with pytest.raises(InputError, match=r"part-00001\.faiss is not a whole index file"):
                open_index(str(path), mmap)
        with pytest.raises(InputError, match="there is not a whole index file"):
            index_from_bytes(data[:length], "there")


@pytest.mark.parametrize("factory", DAMAGED)
def test_garbage_is_named(factory: str, tmp_path: Path) -> None:
    magic = index_bytes(filled(factory))[:4]
    path = tmp_path / "garbage.faiss"
    rng = np.random.default_rng(0)
    for length in range(0, 200, 5):
        for head in (b"", magic):
            path.write_bytes(head + rng.bytes(length))
            for mmap in (False, True):
                with pytest.raises(InputError, match=r"garbage\.faiss is (not a whole|damaged)"):
                    open_index(str(path), mmap)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no index at .*none\.faiss"):
        open_index(str(tmp_path / "none.faiss"))
    with pytest.raises(InputError, match=r"there is no index at memory://none\.faiss"):
        open_index("memory://none.faiss")
    with pytest.raises(InputError, match="not a whole index file"):
        open_index(str(tmp_path))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"cannot write .*file/part\.faiss"):
        write_index(filled("Flat"), str(tmp_path / "file" / "part.faiss"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*folder"):
        write_index(filled("Flat"), str(tmp_path / "folder"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_part_is_what_its_manifest_says() -> None:
    index = filled("IVF8,SQ8")
    check_part(index, spec_of("IVF8,SQ8"), ROWS, "part-00003")
    check_part(index, spec_of("IVF8,SQ8", "dot"), ROWS, "part-00003")
    with pytest.raises(InputError, match="part-00003 is short: it holds 400 vectors, its manifest says 401"):
        check_part(index, spec_of("IVF8,SQ8"), ROWS + 1, "part-00003")
    with pytest.raises(InputError, match="part-00003 is not of these embeddings: it holds 400"):
        check_part(index, spec_of("IVF8,SQ8"), ROWS - 1, "part-00003")
    for other in (spec_of("IVF8,SQ8", "euclidean"), spec_of("IVF9,SQ8"), spec_of("IVF8,Flat"), spec_of("BIVF8")):
        with pytest.raises(InputError, match=f"part-00003 is not an index {other.factory} for"):
            check_part(index, other, ROWS, "part-00003")
