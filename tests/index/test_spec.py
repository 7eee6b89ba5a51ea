"""What a factory string says about an index before there is one."""

from __future__ import annotations

import pickle
import sys

import pytest

from st_ray.core.errors import ConfigError, InputError, ResourceError
from st_ray.index.files import index_bytes
from st_ray.index.spec import IndexSpec
from tests.index.kinds import DIMENSION, MERGED, MERGED_ON_DISK, PARTS_ONLY, ROWS, filled, spec_of


@pytest.mark.parametrize("factory", [*MERGED, *PARTS_ONLY])
def test_memory_is_about_the_size_of_the_file(factory: str) -> None:
    size = len(index_bytes(filled(factory)))
    assert spec_of(factory).memory_bytes(ROWS) == pytest.approx(size, rel=0.2)


@pytest.mark.parametrize(("factory", "mergeable"), [*((f, True) for f in MERGED), *((f, False) for f in PARTS_ONLY)])
def test_what_can_be_merged(factory: str, mergeable: bool) -> None:
    assert spec_of(factory).mergeable is mergeable


@pytest.mark.parametrize("factory", [*MERGED, *PARTS_ONLY, "IDMap,IVF8,Flat"])
def test_what_can_be_merged_on_disk(factory: str) -> None:
    assert spec_of(factory).mergeable_on_disk is (factory in MERGED_ON_DISK)


@pytest.mark.parametrize(
    ("factory", "parameter", "nlist", "minimum", "code_bytes", "rescoring"),
    [
        ("Flat", None, 0, 0, 64 + 8, False),
        ("SQ8", None, 0, 1, 16 + 8, False),
        ("PQ4", None, 0, 256, 4 + 8, True),
        ("IVF8,Flat", "nprobe", 8, 8, 64 + 8, False),
        ("IVF8,SQfp16", "nprobe", 8, 8, 32 + 8, False),
        ("IVF8,SQ4", "nprobe", 8, 8, 8 + 8, True),
        ("IVF300,PQ4", "nprobe", 300, 300, 4 + 8, True),
        ("OPQ4,IVF8,PQ4x4", "nprobe", 8, 256, 2 + 8, True),
        ("IVF64_HNSW4,Flat", "nprobe", 64, 64, 64 + 8, False),
        ("IVF8,PQ8x4fs,RFlat", "nprobe", 8, 16, 4 + 64 + 8 + 0, False),
        ("HNSW8", "efSearch", 0, 0, 64 + 8 + 64 + 4 + 12, False),
        ("BFlat", None, 0, 0, 16 + 8, False),
        ("BIVF8", "nprobe", 8, 8, 16 + 8, False),
        ("BHNSW8", "efSearch", 0, 0, 16 + 8 + 64 + 4 + 12, False),
    ],
)
def test_facts(factory: str, parameter: str | None, nlist: int, minimum: int, code_bytes: int, rescoring: bool) -> None:
    spec = spec_of(factory)
    assert (spec.search_parameter, spec.nlist) == (parameter, nlist)
    assert (spec.minimum_train_rows, spec.needs_training) == (minimum, minimum > 0)
    assert (spec.code_bytes, spec.needs_rescoring) == (code_bytes, rescoring)


def test_training_rows() -> None:
    assert spec_of("Flat").train_rows(10**6) == 0
    assert spec_of("IVF1024,Flat").train_rows(10**6) == 64 * 1024
    assert spec_of("IVF1024,Flat").train_rows(5000) == 5000
    assert IndexSpec("IVF131072,Flat", "dot", 2).train_rows(10**9) == 39 * 131072
    assert spec_of("SQ8").train_rows(10**6) == 20_000


def test_too_few_rows_to_train_on() -> None:
    with pytest.raises(InputError, match=r"corpus has 299 vectors; factory IVF300,Flat needs at least 300 .* 300 cent"):
        spec_of("IVF300,Flat").check_rows(299, "corpus")
    spec_of("IVF300,Flat").check_rows(300)
    spec_of("Flat").check_rows(0)


def test_a_spec_travels_and_compares() -> None:
    spec = spec_of("IVF8,Flat")
    assert spec.nlist == 8
    assert pickle.loads(pickle.dumps(spec)) == spec == spec_of("IVF8,Flat") != spec_of("IVF8,Flat", "dot")


def test_bits_are_packed_into_whole_bytes() -> None:
    spec = IndexSpec("BFlat", "cosine", 13, binary=True)
    assert (spec.columns, spec.faiss_dimension, spec.empty().d) == (2, 16, 16)


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("", "could not parse"),
        ("banana", "could not parse index string banana"),
        ("IVF8", "could not parse"),
        ("IVF8,PQ5", "multiple of the number of subquantizers"),
        ("IVF8,SQ3", "could not parse code description SQ3"),
        ("IVF0,Flat", "at least one list"),
        ("HNSW1", "two links"),
        ("IVF8_HNSW0,Flat", "two links"),
        ("IVF99999999999,Flat", "stoi"),
        ("BFlat", "could not parse"),
    ],
)
def test_what_faiss_cannot_make(factory: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"--factory '{factory}' makes no index of 16 dimensions.*{why}"):
        IndexSpec(factory, "cosine", DIMENSION)


def test_floats_are_no_bits() -> None:
    with pytest.raises(ConfigError, match=r"makes no index of 16 bits(.|\n)*BIVF1024"):
        IndexSpec("Flat", "cosine", DIMENSION, binary=True)


def test_manhattan_is_refused() -> None:
    with pytest.raises(ConfigError, match="manhattan cannot be searched with an index"):
        IndexSpec("Flat", "manhattan", DIMENSION)


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ResourceError, match=r"pip install 'st-ray\[cpu\]'"):
        IndexSpec("Flat", "dot", 3)
