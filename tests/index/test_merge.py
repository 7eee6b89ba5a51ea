"""However the vectors were cut into parts, merged they are what one index would have been, to the byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError, InputError, OutputError
from st_ray.index.build import fill, train
from st_ray.index.files import index_bytes, open_index, write_index
from st_ray.index.merge import merge_in_memory
from st_ray.index.merge_disk import merge_on_disk
from st_ray.index.query import search_index
from st_ray.scoring.topk import TopK
from tests.index.kinds import (
    EXACT,
    MERGED,
    MERGED_ON_DISK,
    PARTS_ONLY,
    ROWS,
    SIMILARITIES,
    filled,
    parts,
    spec_of,
    trained,
    vectors,
)

cuts = st.lists(st.integers(0, ROWS), max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(MERGED), st.sampled_from(SIMILARITIES), cuts)
def test_merged_in_memory(factory: str, similarity: str, cuts: list[int]) -> None:
    spec, whole = spec_of(factory, similarity), filled(factory, similarity)
    merged = merge_in_memory(iter(parts(factory, similarity, cuts)))
    if factory != "IVF8,PQ4x4fs":  # its codes lie in blocks, with leftovers in those that are not full
        assert index_bytes(merged) == index_bytes(whole)
    queries = vectors(spec.binary)[:15]
    for found, expected in zip(
        search_index(merged, spec, queries, ROWS, 8), search_index(whole, spec, queries, ROWS, 8), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(MERGED_ON_DISK), cuts)
def test_merged_on_disk(tmp_path_factory: pytest.TempPathFactory, factory: str, cuts: list[int]) -> None:
    folder = tmp_path_factory.mktemp("merge")
    assert merge_on_disk(trained(factory), written(folder, parts(factory, "cosine", cuts)), str(folder / "all")) == ROWS
    assert (folder / "all").read_bytes() == index_bytes(filled(factory))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(EXACT), st.sampled_from(SIMILARITIES), cuts, st.integers(1, 30))
def test_searched_part_by_part(factory: str, similarity: str, cuts: list[int], k: int) -> None:
    spec = spec_of(factory, similarity)
    queries = vectors(spec.binary)[:15]
    best = TopK(len(queries), k)
    for part in parts(factory, similarity, cuts):
        best.merge(*search_index(part, spec, queries, k, spec.nlist or None))
    scores, positions = search_index(filled(factory, similarity), spec, queries, k, spec.nlist or None)
    for query, (found_scores, found) in enumerate(zip(*best.padded(), strict=True)):
        np.testing.assert_allclose(found_scores, scores[query], rtol=1e-5)
        # Which of the vectors with the last score are found is up to faiss.
        sure = scores[query] > scores[query, -1]
        np.testing.assert_array_equal(found[sure], positions[query][sure])


@pytest.mark.parametrize("factory", MERGED_ON_DISK)
def test_a_merged_file_moves(factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(factory)
    queries = vectors(spec.binary)[:15]
    expected = search_index(filled(factory), spec, queries, 10, 8)
    (tmp_path / "built").mkdir()
    files = written(tmp_path / "built", parts(factory, "cosine", [50, 50, 390]))
    merge_on_disk(trained(factory), files, str(tmp_path / "built" / "index.faiss"))
    for file in files:
        Path(file).unlink()
    shutil.move(tmp_path / "built", tmp_path / "moved")
    monkeypatch.chdir("/")
    read = faiss.read_index_binary if spec.binary else faiss.read_index
    path = str(tmp_path / "moved" / "index.faiss")
    for index in (read(path), read(path, faiss.IO_FLAG_MMAP), open_index(path, mmap=True)):
        found = search_index(index, spec, queries, 10, 8)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])


def test_few_filled_lists(tmp_path: Path) -> None:
    spec = spec_of("IVF8,Flat")
    rows = np.repeat(vectors()[:2], 5, axis=0)
    one = fill(spec, trained("IVF8,Flat"), [(0, rows)])
    halves = [fill(spec, trained("IVF8,Flat"), [(first, rows[first : first + 5])]) for first in (0, 5)]
    assert merge_on_disk(trained("IVF8,Flat"), written(tmp_path, halves), str(tmp_path / "all")) == 10
    assert (tmp_path / "all").read_bytes() == index_bytes(one)


def test_no_vectors_at_all(tmp_path: Path) -> None:
    assert merge_on_disk(trained("IVF8,Flat"), [], str(tmp_path / "all")) == 0
    assert (tmp_path / "all").read_bytes() == trained("IVF8,Flat")
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_in_memory([])


@pytest.mark.parametrize("factory", PARTS_ONLY)
def test_what_cannot_be_merged(factory: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be merged"):
        merge_in_memory(parts(factory, "cosine", [200]))
    with pytest.raises(ConfigError, match="cannot be merged on disk"):
        merge_on_disk(trained(factory), [], str(tmp_path / "all"))


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF8,PQ4x4fs", "BFlat"])
def test_what_is_merged_in_memory_only(factory: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be merged on disk"):
        merge_on_disk(trained(factory), [], str(tmp_path / "all"))


@pytest.mark.parametrize("factory", ["IVF8,Flat", "SQ8", "PQ4x4", "OPQ4_8,IVF8,PQ4x4", "BIVF8"])
def test_parts_of_two_trainings_do_not_mix(factory: str, tmp_path: Path) -> None:
    spec = spec_of(factory)
    sample = vectors(spec.binary, seed=1)
    foreign = fill(spec, index_bytes(train(spec, sample)), [(200, sample[:200])])
    with pytest.raises(InputError, match="part 1 was not filled into a copy of the same trained index"):
        merge_in_memory([filled(factory, last=200), foreign])
    if factory in MERGED_ON_DISK:
        files = written(tmp_path, [filled(factory, last=200), foreign])
        with pytest.raises(InputError, match=r"part-00001\.faiss was not filled into a copy"):
            merge_on_disk(trained(factory), files, str(tmp_path / "all"))
        assert not (tmp_path / "all").exists()


def test_parts_of_two_kinds_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="part 1 was not filled"):
        merge_in_memory([filled("IVF8,Flat"), filled("IVF8,SQ8")])
    with pytest.raises(InputError, match=r"part-00000\.faiss is cut short, or not a part"):
        merge_on_disk(trained("IVF8,Flat"), written(tmp_path, [filled("IVF8,SQ8")]), str(tmp_path / "all"))


@pytest.mark.parametrize("last", [120, ROWS])
def test_a_damaged_part_is_named(last: int, tmp_path: Path) -> None:
    file = Path(written(tmp_path, [filled("IVF8,SQ8", last=last)])[0])
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [data[:length] for length in (0, 1, 40, len(data) - 1, *rng.integers(0, len(data), 60).tolist())]
    begin = data.index(b"ilar")
    for _ in range(60):
        changed = bytearray(data)
        changed[begin + int(rng.integers(0, 32 + 64))] ^= int(rng.integers(1, 256))
        damaged.append(bytes(changed))
    for content in [*damaged, data + b"x"]:
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"part-00000\.faiss"):
            merge_on_disk(trained("IVF8,SQ8"), [str(file)], str(tmp_path / "all"))
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.faiss"]


def test_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.faiss"):
        merge_on_disk(trained("IVF8,Flat"), [str(tmp_path / "none.faiss")], str(tmp_path / "all"))
    with pytest.raises(ConfigError, match="memory://all is not in a file system"):
        merge_on_disk(trained("IVF8,Flat"), [], "memory://all")
    with pytest.raises(OutputError, match="cannot write"):
        merge_on_disk(trained("IVF8,Flat"), [], str(tmp_path))


def written(folder: Path, indexes: list) -> list[str]:
    files = [str(folder / f"part-{number:05d}.faiss") for number in range(len(indexes))]
    for index, file in zip(indexes, files, strict=True):
        write_index(index, file)
    return files
