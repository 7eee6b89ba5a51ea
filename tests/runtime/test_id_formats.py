"""Examples of ids out of rows of ids: what each format becomes, and the draw of negatives."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError
from st_ray.runtime.training.ids.formats import NO_NEGATIVE, NO_POSITIVE, NamedExamples, named_examples
from st_ray.runtime.training.ids.members import members_bytes, members_of, read_members
from st_ray.runtime.training.ids.recipe import LAYOUTS, id_recipe
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import OutputFolder, Part
from st_ray.store.readers.id_values import id_array
from st_ray.store.readers.read import REJECTS_SCHEMA, TextBlock
from st_ray.store.readers.values import value_array


def block_of(format: str, rows: list[tuple[Any, ...]], first: int = 0) -> TextBlock:
    """The rows, cells in the order of the layout's value columns."""
    columns = LAYOUTS[format].values
    cells = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in columns]
    make = {column.kind: id_array if column.kind.startswith("id") else value_array for column in columns}
    values = tuple(make[column.kind](column, part, {}) for column, part in zip(columns, cells, strict=True))
    numbers = np.arange(first, first + len(rows))
    return TextBlock(pa.array(numbers), numbers, [], values, REJECTS_SCHEMA.empty_table())


def plain(examples: NamedExamples) -> list[tuple[Any, ...]]:
    """Query, documents, labels, row of each example."""
    assert examples.labels.dtype == np.float32
    documents = [column.to_pylist() for column in examples.documents]
    labels, rows = (column.tolist() for column in (examples.labels, examples.rows))
    return list(zip(examples.queries.to_pylist(), *documents, labels, rows, strict=True))


def test_judgements() -> None:
    found = named_examples(block_of("qrels", [(1, "a", 3), ("1", "b", 0)], 7), id_recipe("qrels", "mse", label_scale=2))
    assert plain(found) == [("1", "a", [1.5], 7), ("1", "b", [0.0], 8)]


TRIPLES = [("q", "p", "a"), ("q", "p", "b"), ("q", "p", "c"), ("q", "s", "d"), ("r", "s", "e"), ("q", "p", "f")]


def test_triples_take_a_positive_once_a_run() -> None:
    found = named_examples(block_of("id-triples", TRIPLES), id_recipe("id-triples", "bce"))
    expected = [("q", "p", [1], 0), *((q, n, [0], row) for row, (q, _, n) in enumerate(TRIPLES))]
    expected[4:4] = [("q", "s", [1], 3)]
    expected[6:6] = [("r", "s", [1], 4)]
    expected[8:8] = [("q", "p", [1], 5)]
    assert plain(found) == expected


def test_triples_take_a_positive_for_so_many_negatives() -> None:
    found = named_examples(block_of("id-triples", TRIPLES), id_recipe("id-triples", "bce", negatives_per_positive=2))
    assert [example for example in plain(found) if example[2] == [1]] == [
        ("q", "p", [1], 0),
        ("q", "p", [1], 2),
        ("r", "s", [1], 4),
    ]
    assert [example[1] for example in plain(found) if example[2] == [0]] == list("abcdef")


def test_a_teacher_gives_pairs_or_one_example_of_both() -> None:
    block = block_of("teacher", [(1, 2, 3, 8.5, -2), (1, 2, 4, 8.5, 7)])
    pairs = named_examples(block, id_recipe("teacher", "mse"))
    assert plain(pairs) == [("1", "2", [8.5], 0), ("1", "3", [-2], 0), ("1", "2", [8.5], 1), ("1", "4", [7], 1)]
    both = named_examples(block, id_recipe("teacher", "margin-mse", label_scale=0.5))
    assert plain(both) == [("1", "2", "3", [17, -4], 0), ("1", "2", "4", [17, 14], 1)]


@pytest.mark.parametrize("format", ["qrels", "id-triples", "teacher", "hard-negatives"])
def test_no_rows_no_examples(format: Any) -> None:
    for loss in ("mse", "margin-mse") if format == "teacher" else ("mse",):
        recipe = id_recipe(format, loss)
        found = named_examples(block_of(format, []), recipe)
        assert plain(found) == [] and not found.dropped
        assert len(found.documents) == recipe.inputs == found.labels.shape[1]


HARD = [
    (1, [10], {"bm25": [20, 21, 10], "dense": [21, 22, 23]}),
    (2, [], {"bm25": [20]}),
    (3, [10, 11, 10], {"bm25": [20, 21, 22, 23, 24, 11], "dense": []}),
    (4, [12], {"dense": [12]}),
    (5, [12], {}),
]


def test_all_negatives_where_there_are_no_more() -> None:
    recipe = id_recipe("hard-negatives", "bce", negatives_per_positive=9)
    found = named_examples(block_of("hard-negatives", HARD), recipe)
    assert [example for example in plain(found) if example[2] == [1]] == [
        ("1", "10", [1], 0),
        ("3", "10", [1], 2),
        ("3", "11", [1], 2),
    ]
    negatives = collections.defaultdict(set)
    for query, document, label, _ in plain(found):
        if label == [0]:
            assert document not in negatives[query]
            negatives[query].add(document)
    assert negatives == {"1": {"20", "21", "22", "23"}, "3": {"20", "21", "22", "23", "24"}}
    assert found.dropped == {NO_POSITIVE: 1, NO_NEGATIVE: 2}


def test_some_systems() -> None:
    recipe = id_recipe("hard-negatives", "bce", negative_systems=["dense", "none"])
    found = named_examples(block_of("hard-negatives", HARD), recipe)
    assert {example[:2] for example in plain(found) if example[2] == [0]} == {("1", "21"), ("1", "22"), ("1", "23")}
    assert found.systems == {"dense": 3, "none": 0}
    assert found.dropped == {NO_POSITIVE: 1, NO_NEGATIVE: 3}


ROWS = st.lists(
    st.tuples(
        st.integers(0, 99),
        st.lists(st.integers(0, 12), max_size=4),
        st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 25), max_size=20)),
    ),
    max_size=8,
    unique_by=lambda row: row[0],
)


@given(ROWS, st.integers(1, 4), st.integers(-5, 2**70), st.randoms())
def test_the_draw(rows: list[tuple[int, list[int], dict[str, list[int]]]], most: int, seed: int, random: Any) -> None:
    recipe = id_recipe("hard-negatives", "bce", negatives_per_positive=most, seed=seed)
    found = plain(named_examples(block_of("hard-negatives", rows), recipe))
    by_query: dict[str, dict[float, list[str]]] = collections.defaultdict(lambda: {0.0: [], 1.0: []})
    for query, document, (label,), row in found:
        by_query[query][label].append(document)
        assert query == str(rows[row][0])
    for query, positives, named in rows:
        wanted = list(dict.fromkeys(map(str, positives)))
        others = {str(document) for documents in named.values() for document in documents} - set(wanted)
        if not wanted or not others:
            assert str(query) not in by_query
            continue
        drawn = by_query[str(query)]
        assert drawn[1.0] == wanted
        assert len(set(drawn[0.0])) == len(drawn[0.0]) == min(len(others), most * len(wanted))
        assert set(drawn[0.0]) <= others
    # The order of documents, systems and rows does not show in what is drawn, nor do other rows.
    shuffled = [
        (query, positives, {name: random.sample(named[name], len(named[name])) for name in reversed(list(named))})
        for query, positives, named in random.sample(rows, len(rows))
    ]
    pieces = [plain(named_examples(block_of("hard-negatives", [row]), recipe)) for row in shuffled]
    assert sorted(example[:3] for piece in pieces for example in piece) == sorted(example[:3] for example in found)


def test_every_document_is_as_likely_as_any_other() -> None:
    rows = [(query, [0], {"a": list(range(1, 11)), "b": [1, 2]}) for query in range(4000)]
    recipe = id_recipe("hard-negatives", "bce", negatives_per_positive=3)
    counts = collections.Counter(
        example[1] for example in plain(named_examples(block_of("hard-negatives", rows), recipe)) if not example[2][0]
    )
    assert len(counts) == 10 and all(abs(count - 1200) < 5 * 29 for count in counts.values())  # 5 sigma
    other = id_recipe("hard-negatives", "bce", negatives_per_positive=3, seed=1)
    first, second = (
        [example[1] for example in plain(named_examples(block_of("hard-negatives", rows), some))]
        for some in (recipe, other)
    )
    assert len(first) == len(second) == 16000 and first != second


def test_parts_give_back_what_they_were_made_of(tmp_path: Any) -> None:
    output = OutputFolder(str(tmp_path / "out"), "test")
    writer = output.begin({})
    for number, (format, loss, rows) in enumerate(
        [
            ("teacher", "margin-mse", [(1, 2, 3, 8.5, -2), (1, 2, 4, 8.5, 7)]),
            ("id-triples", "bce", TRIPLES),
            ("qrels", "mse", []),
        ]
    ):
        examples = named_examples(block_of(format, rows), id_recipe(format, loss))  # type: ignore[arg-type]
        members = members_of(examples)
        assert len(set(members.document_ids.to_pylist())) == len(members.document_ids)
        entry: ShardEntry = writer.commit(f"part-{number}.arrow", Part(members_bytes(members), len(members.rows), 0))
        read = read_members(output.folder, entry)
        queries = read.query_ids.take(pa.array(read.members[:, 0]))
        documents = tuple(read.document_ids.take(pa.array(column)) for column in read.members.T[1:])
        assert plain(NamedExamples(queries, documents, read.labels, read.rows)) == plain(examples)
        assert read.members.dtype == np.int32
        assert read.members.shape == (len(examples.rows), 1 + len(examples.documents))


@pytest.mark.parametrize(
    ("format", "loss", "more", "message"),
    [
        ("pairs", "bce", {}, "there is no format 'pairs'"),
        ("qrels", "bce", {"label_scale": 0.0}, "--label-scale 0 must be above 0"),
        ("qrels", "bce", {"label_scale": float("nan")}, "--label-scale nan must be above 0"),
        ("id-triples", "bce", {"label_scale": 2.0}, "--label-scale means nothing to data in the format id-triples"),
        ("id-triples", "bce", {"negatives_per_positive": 0}, "--negatives-per-positive must be 1 or more"),
        ("teacher", "mse", {"negatives_per_positive": 2}, "--negatives-per-positive means nothing to"),
        ("id-triples", "bce", {"negative_systems": ["bm25"]}, "--negative-systems means nothing to"),
        ("id-triples", "margin-mse", {}, "--loss margin-mse needs a teacher's scores, and id-triples have none"),
    ],
)
def test_flags_that_make_no_sense(format: Any, loss: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        id_recipe(format, loss, **more)


@pytest.mark.parametrize(
    ("loss", "wrong"),
    [
        ("bce", [False, False, True, True, True, True]),
        ("cosine", [False, False, True, False, True, True]),
        ("ce", [False, True, False, True, True, True]),
        ("mse", [False, False, False, False, False, True]),
    ],
)
def test_labels_that_a_loss_cannot_use(loss: str, wrong: list[bool]) -> None:
    labels = np.float32([1, 0.5, 2, -1, -1.5, np.inf])[:, None]
    assert id_recipe("qrels", loss).wrong_labels(labels)[0].tolist() == wrong
