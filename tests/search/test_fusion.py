"""Rank fusion: the formula row by row, laws of order and cut, ties, and hits that cannot be fused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.runtime.fuse.staging import read_bucket, split_bytes
from st_ray.search.fusion import FusedHits, Fusion, concat_hits, fuse_hits
from st_ray.store import fs
from tests.rankings import Rankings, fused_by_formula, rankings_of, table_of


def fused(*sets: Rankings, **changes: Any) -> FusedHits:
    fusion = Fusion(**{"method": "rrf", "weights": (1.0,) * len(sets), **changes})
    return fuse_hits({f"set {n}": table_of(rankings) for n, rankings in enumerate(sets)}, fusion)


# Few documents and few scores, so that there are many ties and many documents in several sets.
SCORES = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 1.0, 3.0]) | st.floats(-1e3, 1e3, width=32)


@st.composite
def rankings(draw: st.DrawFn) -> Rankings:
    queries = draw(st.lists(st.integers(-3, 5), unique=True, max_size=5))
    made = {}
    for query in queries:
        documents = draw(st.lists(st.integers(0, 12), unique=True, max_size=8))
        made[query] = [(document, draw(SCORES)) for document in documents]
    return made


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Rankings], Fusion]:
    sets = draw(st.lists(rankings(), min_size=1, max_size=10))
    weights = draw(st.lists(st.sampled_from([1.0, 0.3, 0.7, 2.5]), min_size=len(sets), max_size=len(sets)))
    fusion = Fusion(
        method=draw(st.sampled_from(["rrf", "weighted"])),
        weights=tuple(weights),
        rrf_k=draw(st.sampled_from([0, 1, 60])),
        normalize=draw(st.sampled_from(["min-max", "none"])),
        top_k=draw(st.sampled_from([None, 1, 3])),
    )
    return sets, fusion


@settings(max_examples=200, deadline=None)
@given(cases())
def test_the_formula(case: tuple[list[Rankings], Fusion]) -> None:
    sets, fusion = case
    expected = fused_by_formula(sets, fusion)
    found = fuse_hits({f"set {n}": table_of(rankings) for n, rankings in enumerate(sets)}, fusion)
    assert rankings_of(found.table) == expected
    assert list(rankings_of(found.table)) == list(expected)
    has = [{query for query, ranking in rankings.items() if ranking} for rankings in sets]
    everything = set().union(*has)
    assert found.queries == len(everything)
    assert found.missing.tolist() == [len(everything - one) for one in has]
    assert found.shared.tolist() == [
        sum(any(query in other for m, other in enumerate(has) if m != n) for query in one) for n, one in enumerate(has)
    ]
    agreement = [0] * len(sets)
    for query, ranking in expected.items():
        for document, _ in ranking:
            agreement[sum(document in dict(rankings.get(query, [])) for rankings in sets) - 1] += 1
    assert found.found_by.tolist() == agreement


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([1, 2, 7]), st.randoms(use_true_random=False))
def test_any_order_and_cut_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[list[Rankings], Fusion], buckets: int, random: Any
) -> None:
    sets, fusion = case
    tables = {f"set {n}": table_of(rankings) for n, rankings in enumerate(sets)}
    whole = rankings_of(fuse_hits(tables, fusion).table)
    folder = tmp_path_factory.mktemp("split")
    files: dict[str, list[str]] = {name: [] for name in tables}
    for name, table in tables.items():
        rows = random.sample(range(len(table)), len(table))
        edges = sorted(random.choices(range(len(rows) + 1), k=2))
        for piece in np.split(np.array(rows, np.int64), edges):
            files[name].append(f"{folder}/{name}, {len(files[name])}.arrow")
            fs.write_atomic(files[name][-1], split_bytes(table.take(pa.array(piece)), buckets))
    parts = [
        fuse_hits({name: concat_hits([read_bucket(url, n) for url in urls]) for name, urls in files.items()}, fusion)
        for n in range(buckets)
    ]
    together = [rankings_of(part.table) for part in parts]
    assert sum(map(len, together)) == len(whole)
    assert {query: ranking for part in together for query, ranking in part.items()} == whole
    for name in ("missing", "shared", "found_by"):
        summed = np.sum([getattr(part, name) for part in parts], axis=0)
        assert summed.tolist() == getattr(fuse_hits(tables, fusion), name).tolist()


def test_by_hand() -> None:
    one: Rankings = {"q": [("a", 9.0), ("b", 5.0), ("c", 1.0)], "only one": [("z", 3.0)]}
    other: Rankings = {"only other": [("y", 0.5)], "q": [("c", 0.9), ("d", 0.8)]}
    by_rank = rankings_of(fused(one, other).table)
    assert list(by_rank) == ["q", "only one", "only other"]
    assert [document for document, _ in by_rank["q"]] == ["c", "a", "b", "d"]
    assert by_rank["q"][0][1] == np.float32(1 / 63 + 1 / 61)
    weighted = rankings_of(fused(one, other, method="weighted", weights=(0.7, 0.3)).table)
    assert weighted["q"] == [("a", np.float32(0.7)), ("b", np.float32(0.35)), ("c", np.float32(0.3)), ("d", 0.0)]
    # The only score of a query counts as its best.
    assert (weighted["only one"], weighted["only other"]) == ([("z", np.float32(0.7))], [("y", np.float32(0.3))])
    plain = rankings_of(fused(one, other, method="weighted", normalize="none", top_k=2).table)
    assert plain["q"] == [("a", 9.0), ("b", 5.0)]


def test_ties_go_to_the_better_rank_then_to_the_smaller_id() -> None:
    # Equal sums: x by ranks 1 and 4, y by rank 2 twice; k and weights make 1/1 + w/4 = 1/2 + w/2 with w = 2.
    sets: list[Rankings] = [
        {"q": [("x", 0.0), ("y", 0.0)]},
        {"q": [("p", 0.0), ("y", 0.0), ("r", 0.0), ("x", 0.0)]},
    ]
    assert [d for d, _ in rankings_of(fused(*sets, rrf_k=0, weights=(1.0, 2.0)).table)["q"]] == ["p", "x", "y", "r"]
    swapped: list[Rankings] = [{"q": [("10", 1.0), ("9", 0.5)]}, {"q": [("9", 1.0), ("10", 0.5)]}]
    assert [d for d, _ in rankings_of(fused(*swapped).table)["q"]] == ["10", "9"]
    numbers: list[Rankings] = [{"q": [(10, 1.0), (9, 0.5)]}, {"q": [(9, 1.0), (10, 0.5)]}]
    assert [d for d, _ in rankings_of(fused(*numbers).table)["q"]] == [9, 10]


def test_sums_that_float32_cannot_tell_apart_are_ranked_as_float64() -> None:
    sets: list[Rankings] = [{"q": [("a", 1.0), ("b", 1.0)]}, {"q": [("b", 1e-12)]}]
    ranking = rankings_of(fused(*sets, method="weighted", normalize="none").table)["q"]
    assert ranking == [("b", 1.0), ("a", 1.0)]


def test_integers_meet_strings_as_strings() -> None:
    numbers: Rankings = {7: [(10, 1.0), (9, 0.5)]}
    assert [str(kind) for kind in fused(numbers, numbers).table.schema.types[::2]] == ["int64", "int64"]
    mixed = fused(numbers, {"7": [("9", 1.0)], "07": [("9", 1.0)]})
    assert {query: [d for d, _ in ranking] for query, ranking in rankings_of(mixed.table).items()} == {
        "7": ["9", "10"],
        "07": ["9"],
    }
    # Documents alone may differ; and a set without rows has no say.
    half = fused(numbers, {7: [("9", 1.0)]}, {})
    assert [str(kind) for kind in half.table.schema.types[::2]] == ["int64", "string"]


@pytest.mark.parametrize("method", ["rrf", "weighted"])
def test_hits_that_cannot_be_fused_are_named(method: str) -> None:
    good: Rankings = {"q": [("a", 1.0), ("b", 0.5)]}
    with pytest.raises(InputError, match="set 1: query 'p' has the document 'a' twice"):
        fused(good, {**good, "p": [("a", 1.0), ("b", 0.7), ("a", 0.5)]}, method=method)
    two_parts = concat_hits([table_of(good), table_of({"q": [("c", 1.0)]})])
    with pytest.raises(InputError, match="B: query 'q' has rank 1 twice"):
        fuse_hits({"A": table_of(good), "B": two_parts}, Fusion(method, (1.0, 1.0)))


def test_scores_must_be_finite_to_be_weighted() -> None:
    sets: list[Rankings] = [{"q": [("a", np.inf), ("b", 0.5)]}, {"q": [("b", 0.5)]}]
    for normalize in ("none", "min-max"):
        with pytest.raises(InputError, match="set 0: query 'q' has the score inf"):
            fused(*sets, method="weighted", normalize=normalize)
    assert [d for d, _ in rankings_of(fused(*sets).table)["q"]] == ["b", "a"]


def test_nothing_at_all() -> None:
    for method in ("rrf", "weighted"):
        found = fused({}, {"q": []}, method=method)
        assert (len(found.table), found.queries, found.shared.tolist()) == (0, 0, [0, 0])
