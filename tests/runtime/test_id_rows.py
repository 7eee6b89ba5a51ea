"""Examples whose texts are named by ids: the same as a dictionary gives, however files, shards, buckets and tasks are
cut, and in MS MARCO's own formats.
"""

from __future__ import annotations

import gzip
import itertools
import json
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.runtime.training.ids import prepare
from st_ray.runtime.training.ids.formats import NO_NEGATIVE, NO_POSITIVE
from st_ray.runtime.training.ids.prepare import NO_DOCUMENT, NO_QUERY, prepare_id_rows
from st_ray.runtime.training.ids.recipe import Recipe, id_recipe
from st_ray.runtime.training.ids.request import IdRequest, TextFiles, id_request
from st_ray.runtime.training.ids.rows import IdRows, read_id_rows
from st_ray.store.readers.spec import ReadSpec
from tests.inline_ray import InlineRay, inline_ray
from tests.inline_texts import JOIN_CUTS, STAGED, JoinCuts, cut

Example = tuple[str, tuple[str, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Sizes(JoinCuts):
    """Every constant and cut that must not show in the result."""

    files: int = 1
    zipped: bool = False
    shard_examples: int = 20_000


@dataclass(frozen=True)
class Case:
    """Rows of a format, cells as they stand in the file, and texts by id."""

    recipe: Recipe
    rows: list[Any]
    queries: dict[str, str]
    corpus: dict[str, str]
    on_bad_row: Any = "fail"
    sizes: Sizes = field(default_factory=Sizes)

    def request(self, folder: Path) -> IdRequest:
        is_lines = self.recipe.format == "hard-negatives"
        lines = [json.dumps(row) if is_lines else "\t".join(map(str, row)) for row in self.rows]
        data = write(folder, "data", lines, ".jsonl" if is_lines else ".tsv", self.sizes)
        queries, corpus = (
            TextFiles(write(folder, name, [f"{key}\t{text}" for key, text in texts.items()], ".tsv", self.sizes))
            for name, texts in (("queries", self.queries), ("collection", self.corpus))
        )
        return id_request(
            self.recipe,
            data,
            queries,
            corpus,
            str(folder / "ids"),
            on_bad_row=self.on_bad_row,
            shard_examples=self.sizes.shard_examples,
        )

    def prepare(self, folder: Path) -> IdRows:
        with self.sizes.set():
            return prepare_id_rows(self.request(folder), str(folder / "ids"), mock.Mock(lost=False))


def write(folder: Path, name: str, lines: Sequence[str], suffix: str, sizes: Sizes) -> list[str]:
    files = []
    for number, piece in enumerate(cut(lines, sizes.files)):
        path = folder / f"{name}-{number}{suffix}{'.gz' * sizes.zipped}"
        content = "".join(line + "\n" for line in piece).encode()
        content = gzip.compress(content, mtime=0) if sizes.zipped else content
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
        files.append(str(path))
    return files


def read(prepared: IdRows) -> list[list[Example]]:
    """The examples of each task, which travels as tasks do."""
    shards = []
    for task in prepared.tasks:
        rows = read_id_rows(pickle.loads(pickle.dumps(task)))
        assert rows.labels.dtype == np.float32 and rows.labels.shape == (task.examples, len(rows.others))
        assert task.examples and task.first_example == sum(map(len, shards))
        shards.append(
            [
                (first, others, tuple(labels))
                for first, *others_, labels in zip(rows.first, *rows.others, rows.labels.tolist(), strict=True)
                for others in [tuple(others_)]
            ]
        )
    return shards


def together(prepared: IdRows) -> list[Example]:
    return list(itertools.chain(*read(prepared)))


def expected(case: Case, shard_rows: int | None = None) -> list[Example]:
    """What dictionaries give; of hard negatives all that could be drawn."""
    ids: list[tuple[str, tuple[str, ...], tuple[float, ...]]] = []
    format, scale, previous = case.recipe.format, case.recipe.label_scale, None
    for number, row in enumerate(case.rows):
        if format == "qrels":
            ids.append((row[0], (row[2],), (row[3] / scale,)))
        elif format == "id-triples":
            query, positive, negative = row
            every = case.recipe.negatives
            begins = previous != (query, positive) or (shard_rows and number % shard_rows == 0)
            if number % every == 0 if every else begins:
                ids.append((query, (positive,), (1.0,)))
            ids.append((query, (negative,), (0.0,)))
            previous = query, positive
        elif format == "teacher":
            high, low, query, positive, negative = row
            if case.recipe.inputs == 2:
                ids.append((query, (positive, negative), (high / scale, low / scale)))
            else:
                ids += [(query, (positive,), (high / scale,)), (query, (negative,), (low / scale,))]
        else:
            negatives = {document for documents in row["neg"].values() for document in documents} - set(row["pos"])
            if row["pos"] and negatives:
                ids += [(row["qid"], (document,), (1.0,)) for document in dict.fromkeys(row["pos"])]
                ids += [(row["qid"], (document,), (0.0,)) for document in sorted(negatives)]
    return [
        (case.queries[str(query)], tuple(case.corpus[str(document)] for document in documents), labels)
        for query, documents, labels in ids
        if str(query) in case.queries and all(str(document) in case.corpus for document in documents)
    ]


@pytest.fixture
def inline() -> Iterator[InlineRay]:
    with inline_ray(prepare.__name__, STAGED) as ray:
        yield ray


WORDS = ['a "quoted" text', "twei €", "the same", "the same", ""]


@st.composite
def cases(draw: st.DrawFn, missing: bool = False) -> Case:
    queries = {str(7 * n): f"query {n}" for n in range(draw(st.integers(1, 6)))}
    corpus = {str(3 * n): f"{n} {WORDS[n % 5]}" for n in range(draw(st.integers(2, 15)))}
    query = st.sampled_from([*map(int, queries), *([99] if missing else [])])
    document = st.sampled_from([*map(int, corpus), *([98, 97] if missing else [])])
    number = st.integers(-8, 8).map(lambda eighths: eighths / 8)
    format, loss = draw(
        st.sampled_from(
            [
                ("qrels", "mse"),
                ("id-triples", "bce"),
                ("teacher", "mse"),
                ("teacher", "margin-mse"),
                ("hard-negatives", "bce"),
            ]
        )
    )
    row: Any = {
        "qrels": st.tuples(query, st.just(0), document, number),
        "id-triples": st.tuples(query, document, document),
        "teacher": st.tuples(number, number, query, document, document),
        "hard-negatives": st.fixed_dictionaries(
            {
                "qid": query,
                "pos": st.lists(document, max_size=3),
                "neg": st.dictionaries(st.sampled_from(["bm25", "x"]), st.lists(document, max_size=6)),
            }
        ),
    }[format]
    more: dict[str, Any] = {}
    if format == "id-triples":
        more = {"negatives_per_positive": draw(st.sampled_from([1, 2, 3]))}
    elif format == "hard-negatives":
        more = {"negatives_per_positive": draw(st.sampled_from([1, 2, 50]))}
    else:
        more = {"label_scale": draw(st.sampled_from([1.0, 4.0]))}
    sizes = Sizes(
        files=draw(st.integers(1, 3)),
        zipped=draw(st.booleans()),
        shard_examples=draw(st.integers(1, 25)),
        **draw(JOIN_CUTS),
    )
    rows = draw(st.lists(row, min_size=1, max_size=20))
    on_bad_row = "skip" if missing else "fail"
    return Case(id_recipe(format, loss, **more), rows, queries, corpus, on_bad_row, sizes)  # type: ignore[arg-type]


def prepared_in(case: Case) -> tuple[IdRows, list[list[Example]]] | None:
    """None where there is no example."""
    with tempfile.TemporaryDirectory() as folder, inline_ray(prepare.__name__, STAGED):
        try:
            prepared = case.prepare(Path(folder))
        except InputError as error:
            assert "makes an example" in error.message or "has its texts" in error.message
            return None
        return prepared, read(prepared)


@given(cases())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_cut_gives_what_a_dictionary_gives(case: Case) -> None:
    found, whole = prepared_in(case), prepared_in(replace(case, sizes=Sizes()))
    wanted = expected(case)
    assert (found is None) == (whole is None) == (not wanted)
    if found is None or whole is None:
        return
    examples = list(itertools.chain(*found[1]))
    assert examples == list(itertools.chain(*whole[1]))
    if case.recipe.format != "hard-negatives":
        assert examples == wanted
    elif case.recipe.negatives == 50:
        assert sorted(examples) == sorted(wanted)
    else:
        assert set(examples) <= set(wanted)
        positives = [example for example in examples if example[2] == (1.0,)]
        assert sorted(positives) == sorted(example for example in wanted if example[2] == (1.0,))
        assert len(examples) <= len(positives) * (1 + (case.recipe.negatives or 0))


@given(cases(missing=True))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_examples_without_texts_are_left_out_and_counted(case: Case) -> None:
    found = prepared_in(case)
    wanted = expected(case)
    every = replace(
        case, queries=case.queries | {"99": "nowhere"}, corpus=case.corpus | {"98": "nowhere", "97": "nor here"}
    )
    whole = prepared_in(every)
    assert whole is not None or found is None
    if found is None or whole is None:
        return
    examples = list(itertools.chain(*found[1]))
    if case.recipe.format != "hard-negatives":
        assert examples == wanted
    # Negatives are drawn before anybody knows which have texts: what is drawn does not depend on it.
    there = [example for example in together_of(whole) if not {"nowhere", "nor here"} & {example[0], *example[1]}]
    assert examples == there
    dropped = found[0].dropped
    assert dropped.get(NO_QUERY, 0) == sum(example[0] == "nowhere" for example in together_of(whole))
    assert len(examples) + dropped.get(NO_QUERY, 0) + dropped.get(NO_DOCUMENT, 0) == len(together_of(whole))


def together_of(prepared: tuple[IdRows, list[list[Example]]]) -> list[Example]:
    return list(itertools.chain(*prepared[1]))


QUERIES = {"121352": "define extreme", "634306": "what does chattel mean on credit history", "9": "who"}
CORPUS = {
    "0": 'The presence of communication amid "scientific" minds',
    "7": "Chattel",
    "2912791": "Extreme",
    "70": "",
    "71": "x y",
}
SMALL = Sizes(files=2, shard_examples=2, text_shard_rows=2, bucket_rows=3, text_rows=2)


def test_triples_by_id_as_ms_marco_has_them(inline: InlineRay, tmp_path: Path) -> None:
    rows = [("121352", "2912791", "0"), ("121352", "2912791", "7"), ("634306", "7", "0")]
    for zipped in (False, True):
        folder = tmp_path / str(zipped)
        folder.mkdir()
        sizes = replace(SMALL, zipped=zipped)
        prepared = Case(id_recipe("id-triples", "bce", negatives_per_positive=2), rows, QUERIES, CORPUS, sizes=sizes)
        assert together(prepared.prepare(folder)) == [
            ("define extreme", ("Extreme",), (1.0,)),
            ("define extreme", (CORPUS["0"],), (0.0,)),
            ("define extreme", ("Chattel",), (0.0,)),
            (QUERIES["634306"], ("Chattel",), (1.0,)),
            (QUERIES["634306"], (CORPUS["0"],), (0.0,)),
        ]
        assert not (folder / "ids" / "staging").exists()


def test_runs_of_triples_end_with_a_shard(inline: InlineRay, tmp_path: Path) -> None:
    rows = [("9", "7", "0")] * 5
    case = Case(id_recipe("id-triples", "bce"), rows, QUERIES, CORPUS, sizes=Sizes(shard_examples=4))
    assert [[example[2] for example in shard] for shard in read(case.prepare(tmp_path))] == [
        [(1.0,), (0.0,), (0.0,)],
        [(1.0,), (0.0,), (0.0,)],
        [(1.0,), (0.0,)],
    ]
    assert together(case.prepare(tmp_path)) == expected(case, shard_rows=2)


def test_judgements_of_beir_have_a_header(inline: InlineRay, tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n9\t7\t2\n9\t70\t0\n")
    (tmp_path / "queries.jsonl").write_text('{"_id": "9", "text": "who"}\n')
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir" / "corpus.jsonl").write_text(
        '{"_id": "7", "title": "T", "text": "seven"}\n{"_id": "70", "title": "", "text": "seventy"}\n'
    )
    request = id_request(
        id_recipe("qrels", "bce", label_scale=2.0),
        [str(tmp_path / "qrels.tsv")],
        TextFiles([str(tmp_path / "queries.jsonl")], ReadSpec("_id", ("text",))),
        TextFiles([str(tmp_path / "beir")]),
        str(tmp_path / "ids"),
    )
    prepared = prepare_id_rows(request, str(tmp_path / "ids"), mock.Mock(lost=False))
    assert together(prepared) == [("who", ("T seven",), (1.0,)), ("who", (" seventy",), (0.0,))]
    assert prepared.dropped == {}


TRIPLES = [("9", "7", "0"), ("9", "7", "x"), ("121352", "0", "x"), ("121352", "0", "y"), ("z", "7", "70")]
BCE = id_recipe("id-triples", "bce")


def refused(folder: Path, case: Case) -> str:
    with pytest.raises(InputError) as error:
        case.prepare(folder)
    return str(error.value)


def test_ids_without_a_text_are_named(inline: InlineRay, tmp_path: Path) -> None:
    for sizes in (SMALL, Sizes()):
        message = refused(tmp_path, Case(BCE, TRIPLES, QUERIES | {"z": "Z"}, CORPUS, sizes=sizes))
        assert "data-0.tsv, row 2: document 'x' has no text in" in message
        assert "collection-0.tsv" in message and "(2 such documents in all)" in message and "--corpus" in message
        message = refused(tmp_path, Case(BCE, TRIPLES, QUERIES, CORPUS, sizes=sizes))
        assert f"data-{sizes.files - 1}.tsv, row {3 if sizes.files == 2 else 5}: query 'z' has no text" in message
        assert "(1 such queries in all)" in message and "--queries" in message


def test_no_example_has_its_texts(inline: InlineRay, tmp_path: Path) -> None:
    case = Case(BCE, [("z", "7", "0"), ("9", "x", "y")], QUERIES, CORPUS, "skip", SMALL)
    message = refused(tmp_path, case)
    assert f"no example has its texts; {NO_QUERY}: 2; {NO_DOCUMENT}: 2" in message


def test_bad_rows_are_named_or_counted(inline: InlineRay, tmp_path: Path) -> None:
    teacher = id_recipe("teacher", "mse")
    rows: list[Any] = [(1, 0.5, 9, 7, 70), ("one", 0, 9, 7, 0), (1.0, 2.0, 9, 7), (8, -8, 9, 71, 0)]
    message = refused(tmp_path, Case(teacher, rows, QUERIES, CORPUS))
    assert "rows that cannot be used: 2" in message
    assert "data-0.tsv, row 2: column 'positive_score' holds 'one', not a number" in message
    assert "row 3: expected 5 fields, found 4" in message
    prepared = Case(teacher, rows, QUERIES, CORPUS, "skip", SMALL).prepare(tmp_path)
    assert [labels for _, _, labels in together(prepared)] == [(1,), (0.5,), (8,), (-8,)]
    assert prepared.dropped == {
        "column 'positive_score' holds 'one', not a number": 1,
        "expected 5 fields, found 4": 1,
    }


def test_labels_that_the_loss_cannot_use(inline: InlineRay, tmp_path: Path) -> None:
    rows = [("9", 0, "7", 1), ("9", 0, "0", 3), ("9", 0, "70", 0)]
    case = Case(id_recipe("qrels", "bce"), rows, QUERIES, CORPUS, sizes=SMALL)
    message = refused(tmp_path, case)
    assert "data-1.tsv, row 1: a label that --loss bce cannot use (it takes 0 to 1): 3" in message
    prepared = replace(case, on_bad_row="skip").prepare(tmp_path)
    assert [labels for _, _, labels in together(prepared)] == [(1,), (0,)]
    assert prepared.dropped == {"a label that --loss bce cannot use (it takes 0 to 1)": 1}
    assert len(together(replace(case, recipe=id_recipe("qrels", "bce", label_scale=3)).prepare(tmp_path))) == 3


def test_systems_that_are_not_there(inline: InlineRay, tmp_path: Path) -> None:
    rows = [{"qid": 9, "pos": [7], "neg": {"bm25": [0, 70]}}, {"qid": 9, "pos": [], "neg": {}}]
    recipe = id_recipe("hard-negatives", "bce", negative_systems=["bm25", "bm52"])
    assert "no row has negatives of bm52" in refused(tmp_path, Case(recipe, rows, QUERIES, CORPUS))
    recipe = id_recipe("hard-negatives", "bce", negative_systems=["bm25"])
    prepared = Case(recipe, rows, QUERIES, CORPUS, sizes=SMALL).prepare(tmp_path)
    assert len(together(prepared)) == 3 and prepared.dropped == {NO_POSITIVE: 1}
    message = refused(tmp_path, Case(recipe, [{"qid": 9, "pos": [7], "neg": {"bm25": [7]}}], QUERIES, CORPUS))
    assert f"no row makes an example; {NO_NEGATIVE}: 1" in message


def test_columns_that_are_not_there(inline: InlineRay, tmp_path: Path) -> None:
    message = refused(tmp_path, Case(id_recipe("qrels", "bce"), [("9", "7")], QUERIES, CORPUS))
    assert "data-0.tsv: 4 column names were given, but its rows have 2 fields" in message
    assert "qrels are read from TSV without a header line (query-id, iteration, corpus-id, score)" in message
    recipe = id_recipe("hard-negatives", "bce")
    message = refused(tmp_path, Case(recipe, [{"qid": 9, "positives": [7]}], QUERIES, CORPUS))
    assert "no column 'pos'" in message and "JSON lines with qid, pos, neg" in message


CASE = Case(BCE, [("9", "7", "0"), ("121352", "2912791", "70"), ("9", "71", "0")], QUERIES, CORPUS, sizes=SMALL)


def test_a_second_run_looks_at_nothing_but_stamps(inline: InlineRay, tmp_path: Path) -> None:
    first = replace(CASE, sizes=replace(SMALL, zipped=True)).prepare(tmp_path)
    request = replace(CASE, sizes=replace(SMALL, zipped=True)).request(tmp_path)
    tasks = inline.tasks
    with mock.patch.object(prepare, "prepare_corpus", side_effect=AssertionError("scanned")):
        again = prepare_id_rows(request, str(tmp_path / "ids"), mock.Mock(lost=False))
    assert inline.tasks == tasks
    assert again == first
    assert together(again) == expected(CASE)


def test_a_run_cut_short_goes_on(inline: InlineRay, tmp_path: Path) -> None:
    first = CASE.prepare(tmp_path)
    texts, examples = tmp_path / "ids" / "texts", tmp_path / "ids" / "examples"
    parts = {path: path.read_bytes() for folder in (texts, examples) for path in (folder / "data").iterdir()}
    assert len(list((texts / "data").iterdir())) > 4 and len(list((examples / "data").iterdir())) > 1
    for gone in ("texts/manifest.json", "texts/plan.json", "texts/commits/part-00001.json", "examples/manifest.json"):
        (tmp_path / "ids" / gone).unlink()
    kept = [path.stat().st_mtime_ns for path in parts if path.name != "part-00001.parquet"]
    assert CASE.prepare(tmp_path) == first
    assert {path: path.read_bytes() for path in parts} == parts
    assert [path.stat().st_mtime_ns for path in parts if path.name != "part-00001.parquet"] == kept


def test_what_changed_is_prepared_anew(inline: InlineRay, tmp_path: Path) -> None:
    before = CASE.prepare(tmp_path)
    changed = replace(CASE, corpus=CORPUS | {"7": "new"})
    after = changed.prepare(tmp_path)
    assert together(after) == expected(changed)
    assert {name for name in before.lineage if before.lineage[name] != after.lineage[name]} == {"corpus"}
    fewer = replace(CASE, rows=CASE.rows[:2])
    assert together(fewer.prepare(tmp_path)) == expected(fewer)
    assert together(replace(CASE, recipe=id_recipe("id-triples", "mse")).prepare(tmp_path)) == expected(CASE)


def test_a_small_input_needs_few_tasks(inline: InlineRay, tmp_path: Path) -> None:
    assert len(replace(CASE, sizes=Sizes()).prepare(tmp_path).tasks) == 1
    assert inline.tasks == 7


def test_staged_files_that_are_gone_or_damaged_are_named(inline: InlineRay, tmp_path: Path) -> None:
    task = CASE.prepare(tmp_path).tasks[0]
    path = Path(task.document_files[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(InputError, match=r"part-0000\d\.parquet: cannot be read"):
        read_id_rows(task)
    path.write_bytes(Path(task.query_files[0]).read_bytes())
    with pytest.raises(InputError, match=r"lack texts of part-00000\.arrow[\s\S]*--overwrite"):
        read_id_rows(task)
    (tmp_path / "ids" / "examples" / "data" / "part-00000.arrow").unlink()
    with pytest.raises(InputError, match=r"part-00000\.arrow: no such file"):
        read_id_rows(task)
