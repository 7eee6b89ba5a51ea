"""Candidates with their texts: the same as a dictionary gives, however hits, texts, buckets and tasks are cut."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.rerank import candidates, in_document
from st_ray.runtime.rerank.candidates import (
    CandidateRequest,
    Candidates,
    prepare_candidates,
    read_candidates,
)
from st_ray.runtime.texts_by_id.staged import text_request
from st_ray.store.hit_sets import open_hit_set
from st_ray.store.hits import KIND, SUFFIXES, HitsFormat, hits_bytes, hits_table
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part, part_name
from st_ray.store.readers.spec import ReadSpec
from tests.inline_ray import InlineRay, inline_ray
from tests.inline_texts import JOIN_CUTS, STAGED, JoinCuts, cut

Id = str | int
Hits = list[tuple[Id, list[Id]]]


@dataclass(frozen=True)
class Sizes(JoinCuts):
    """Every constant and cut that must not show in the result."""

    text_files: int = 1
    text_format: str = "jsonl"
    hits_parts: int = 1
    hits_format: HitsFormat = "parquet"
    single_file: bool = False
    shard_pairs: int = 5
    part_pairs: int = 250_000

    @contextmanager
    def set(self) -> Iterator[None]:
        with (
            super().set(),
            mock.patch.object(candidates, "PART_PAIRS", self.part_pairs),
            mock.patch.object(in_document, "BUCKET_ROWS", self.bucket_rows),
        ):
            yield


@dataclass(frozen=True)
class Case:
    """Texts by id, and hits; `documents` are those of the rows of either side, for candidates without hits."""

    queries: dict[Id, Any]
    corpus: dict[Id, Any]
    hits: Hits | None = None
    documents: tuple[list[Any], list[Any]] | None = None
    on_bad_row: str = "fail"
    sizes: Sizes = field(default_factory=Sizes)

    def write(self, folder: Path) -> CandidateRequest:
        sides = []
        for number, (name, texts) in enumerate((("queries", self.queries), ("corpus", self.corpus))):
            rows = [{"id": key, "text": text} for key, text in texts.items()]
            if self.documents is not None:
                rows = [row | {"doc": doc} for row, doc in zip(rows, self.documents[number], strict=True)]
            inputs = write_texts(folder, name, rows, self.sizes)
            spec = ReadSpec(id_column="id", text_columns=("text",))
            sides.append(text_request(inputs, spec, self.on_bad_row, str(folder / "out")))
        hits = None if self.hits is None else open_hit_set(write_hits(folder / "hits", self.hits, self.sizes))
        column = "doc" if self.documents is not None else None
        return CandidateRequest(*sides, hits, column, self.sizes.shard_pairs)

    def prepare(self, folder: Path) -> Candidates:
        with self.sizes.set():
            return prepare_candidates(self.write(folder), str(folder / "out"), mock.Mock(lost=False))


def write_texts(folder: Path, name: str, rows: list[dict[str, Any]], sizes: Sizes) -> list[str]:
    files = []
    for number, piece in enumerate(cut(rows, sizes.text_files)):
        path = folder / f"{name}-{number}.{sizes.text_format}"
        if not piece:
            continue
        if sizes.text_format == "parquet":
            pq.write_table(pa.Table.from_pylist(piece), path, row_group_size=3)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in piece))
        files.append(str(path))
    return files


def write_hits(folder: Path | str, hits: Hits, sizes: Sizes) -> str:
    """A finished folder of hits, or one file beside it; the score is the negated rank."""
    if sizes.single_file:
        path = Path(folder).with_suffix(SUFFIXES[sizes.hits_format])
        path.write_bytes(hits_bytes(table_of(hits), sizes.hits_format))
        return str(path)
    output = OutputFolder(str(folder), KIND)
    output.clear()
    writer = output.begin({})
    entries = []
    for number, piece in enumerate(cut(hits, sizes.hits_parts)):
        table = table_of(piece)
        part = Part(hits_bytes(table, sizes.hits_format), len(table), 0)
        entries.append(writer.commit(part_name(number, sizes.hits_parts, SUFFIXES[sizes.hits_format]), part))
    output.finish(Manifest(KIND, {}, tuple(entries)))
    return str(folder)


def table_of(hits: Hits) -> pa.Table:
    queries, documents = [query for query, _ in hits], [document for _, found in hits for document in found]
    scores = [-float(rank) for _, found in hits for rank in range(1, len(found) + 1)]
    return hits_table(pa.array(queries), [len(found) for _, found in hits], pa.array(documents), scores)


Pair = tuple[str, str, str, str, float]


def pairs_of(prepared: Candidates) -> list[list[Pair]]:
    """For each shard: query and document, each as id and text, and the score; ids as strings."""
    shards = []
    for shard in prepared.shards:
        block = read_candidates(shard)
        assert (len(block.counts), len(block.scores)) == (shard.queries, shard.pairs)
        assert block.scores.dtype == np.float32 and block.text_of.dtype == np.int32
        assert len(set(block.text_of.tolist())) == len(block.texts)
        query = np.repeat(np.arange(len(block.counts)), block.counts)
        shards.append(
            [
                (str(block.query_ids[q].as_py()), block.query_texts[q], str(c.as_py()), block.texts[t], float(s))
                for q, c, t, s in zip(query, block.corpus_ids, block.text_of, block.scores, strict=True)
            ]
        )
    return shards


def expected(case: Case) -> list[Pair]:
    queries, corpus = ({str(key): text for key, text in side.items()} for side in (case.queries, case.corpus))
    return [
        (str(query), queries[str(query)], str(document), corpus[str(document)], -float(rank))
        for query, found in case.hits or []
        for rank, document in enumerate(found, 1)
    ]


@pytest.fixture
def inline() -> Iterator[InlineRay]:
    with inline_ray(STAGED) as ray:
        yield ray


def texts_by_id(prefix: str, count: int, integers: bool) -> dict[Id, str]:
    # Some texts are the same, and one is empty: documents may be.
    words = ["", "ein", "twei €", "the same", "the same", "last\nline"]
    ids: list[Id] = [7 * n if integers else f"{prefix}{n * 7}" for n in range(count)]
    return {key: prefix + words[n % len(words)] for n, key in enumerate(ids)}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    queries = texts_by_id("q", draw(st.integers(1, 9)), draw(st.booleans()))
    corpus = texts_by_id("", draw(st.integers(1, 14)), draw(st.booleans()))
    asked = draw(st.lists(st.sampled_from(list(queries)), min_size=1, unique=True))
    some = st.lists(st.sampled_from(list(corpus)), min_size=1, unique=True)
    hits: Hits = [(query, draw(some)) for query in asked]
    form = draw(st.sampled_from(["parquet", "trec", "jsonl"]))
    sizes = Sizes(
        text_files=draw(st.integers(1, 3)),
        text_format=draw(st.sampled_from(["jsonl", "parquet"])),
        hits_parts=draw(st.integers(1, 4)),
        hits_format=form,
        single_file=draw(st.booleans()),
        shard_pairs=draw(st.integers(1, 30)),
        part_pairs=draw(st.integers(1, 30)),
        **draw(JOIN_CUTS),
    )
    return Case(queries, corpus, hits, sizes=sizes)


@given(cases())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_cut_gives_what_a_dictionary_gives(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder, inline_ray(STAGED):
        prepared = case.prepare(Path(folder))
        shards = pairs_of(prepared)
    wanted = expected(case)
    assert list(itertools.chain(*shards)) == wanted
    assert (prepared.pairs, prepared.queries) == (len(wanted), len(case.hits or []))
    assert [shard.number for shard in prepared.shards] == list(range(len(shards)))
    # Whole queries, and those that begin within the same `shard_pairs` pairs: whatever the parts of the hits are.
    starts = np.cumsum([0, *(len(found) for _, found in case.hits or [])])[:-1] // case.sizes.shard_pairs
    assert [len({pair[0] for pair in shard}) for shard in shards] == np.unique(starts, return_counts=True)[1].tolist()


@given(cases(), st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_cut_gives_the_rows_of_the_document(case: Case, data: st.DataObject) -> None:
    integers = data.draw(st.booleans())
    names: list[Id] = [1, 2, 3] if integers else ["1", "2", "x"]
    there = data.draw(st.lists(st.sampled_from(names), min_size=len(case.corpus), max_size=len(case.corpus)))
    # The other side may have them as strings: 1 is the same document as "1".
    own = data.draw(st.lists(st.sampled_from(there).map(str), min_size=len(case.queries), max_size=len(case.queries)))
    for documents in ((own, there), None):
        case = Case(case.queries, case.corpus, None, documents, sizes=case.sizes)
        with tempfile.TemporaryDirectory() as folder, inline_ray(STAGED):
            found = list(itertools.chain(*pairs_of(case.prepare(Path(folder)))))
        assert all(np.isnan(pair[4]) for pair in found)
        assert [pair[:4] for pair in found] == [
            (str(query), query_text, str(key), text)
            for query_row, (query, query_text) in enumerate(case.queries.items())
            for row, (key, text) in enumerate(case.corpus.items())
            if documents is None or str(there[row]) == own[query_row]
        ]


QUERIES: dict[Id, Any] = {"q1": "one", "q2": "two", "q3": "three", "q4": " \t"}
CORPUS: dict[Id, Any] = {"a": "A", "b": "B", "c": "C", "d": ""}
SMALL = Sizes(text_shard_rows=2, bucket_rows=3, text_rows=2, shard_pairs=2, hits_parts=2)


def refused(folder: Path, *args: Any, **changes: Any) -> str:
    with pytest.raises(InputError) as error:
        Case(*args, **{"sizes": SMALL, **changes}).prepare(folder)
    return str(error.value)


def test_an_id_without_a_text(inline: InlineRay, tmp_path: Path) -> None:
    hits: Hits = [("q1", ["a", "x"]), ("q2", ["b"]), ("q3", ["x", "y", "b"])]
    message = refused(tmp_path, QUERIES, CORPUS, hits)
    assert "hits: query 'q1' has the document 'x', which has no text in" in message
    assert "corpus-0.jsonl (2 such documents in all)" in message
    assert "--corpus-id-column" in message
    message = refused(tmp_path, QUERIES, CORPUS, [("q1", ["a"]), ("q9", ["b"]), ("q8", ["x"])])
    assert "hits: query 'q9' has no text in" in message and "(2 such queries in all)" in message


def test_a_query_without_a_word_matters_where_it_is_asked(inline: InlineRay, tmp_path: Path) -> None:
    assert Case(QUERIES, CORPUS, [("q1", ["a", "d"])], sizes=SMALL).prepare(tmp_path).pairs == 2
    message = refused(tmp_path, QUERIES, CORPUS, [("q1", ["a"]), ("q4", ["a"])])
    assert "query 'q4' has an empty text in" in message


def test_hits_that_stand_twice(inline: InlineRay, tmp_path: Path) -> None:
    message = refused(tmp_path, QUERIES, CORPUS, [("q1", ["a", "b"]), ("q2", ["c", "d", "c"])])
    assert "query 'q2' has the document 'c' twice" in message
    message = refused(tmp_path, QUERIES, CORPUS, [("q1", ["a"]), ("q2", ["c"]), ("q1", ["b"])])
    assert "query 'q1' has its documents in several places (1 such queries in all)" in message


def test_a_skipped_row_has_no_text(inline: InlineRay, tmp_path: Path) -> None:
    corpus: dict[Id, Any] = {"a": "A", "b": 5, "c": "C", "d": None}
    prepared = Case(QUERIES, corpus, [("q1", ["a", "c"])], on_bad_row="skip", sizes=SMALL).prepare(tmp_path)
    assert pairs_of(prepared) == [[("q1", "one", "a", "A", -1.0), ("q1", "one", "c", "C", -2.0)]]
    assert prepared.skipped == {"queries": 0, "corpus": 2}
    message = refused(tmp_path, QUERIES, corpus, [("q1", ["a", "b"])], on_bad_row="skip")
    assert "'b', which has no text" in message and "2 rows were left out by --on-bad-row skip" in message
    assert "rows that cannot be used: 2" in refused(tmp_path, QUERIES, corpus, [("q1", ["a"])])


def test_bytes_that_only_reading_shows_are_no_text(inline: InlineRay, tmp_path: Path) -> None:
    case = Case(QUERIES, CORPUS, [("q1", ["a", "b"])], on_bad_row="skip")
    case.write(tmp_path)
    column = pa.array([b"A", b"\xff", b"C", b""]).view(pa.string())
    pq.write_table(pa.table({"id": list("abcd"), "text": column}), tmp_path / "corpus.parquet")
    spec = ReadSpec(id_column="id", text_columns=("text",))
    queries, corpus = (
        text_request([str(tmp_path / name)], spec, "skip", str(tmp_path))
        for name in ("queries-0.jsonl", "corpus.parquet")
    )
    request = CandidateRequest(queries, corpus, open_hit_set(str(tmp_path / "hits")))
    with pytest.raises(InputError, match=r"corpus\.parquet: row 2 is wanted but cannot be read"):
        prepare_candidates(request, str(tmp_path), mock.Mock(lost=False))


def test_rows_are_numbered_where_no_column_of_ids_is_named(inline: InlineRay, tmp_path: Path) -> None:
    for name, texts in (("queries.txt", ["one", "two"]), ("corpus.txt", ["A", "B", "C"])):
        (tmp_path / name).write_text("\n".join(texts))
    (tmp_path / "run.trec").write_text("1 Q0 2 1 0.5 tool\n1 Q0 0 2 0.25 tool\n0 Q0 1 1 2 tool\n")
    sides = [
        text_request([str(tmp_path / name)], ReadSpec(), "fail", str(tmp_path))
        for name in ("queries.txt", "corpus.txt")
    ]
    request = CandidateRequest(*sides, open_hit_set(str(tmp_path / "run.trec")))
    prepared = prepare_candidates(request, str(tmp_path / "out"), mock.Mock(lost=False))
    assert pairs_of(prepared) == [
        [("1", "two", "2", "C", 0.5), ("1", "two", "0", "A", 0.25), ("0", "one", "1", "B", 2.0)]
    ]


def test_no_hits_at_all(inline: InlineRay, tmp_path: Path) -> None:
    for single_file in (True, False):
        message = refused(tmp_path, QUERIES, CORPUS, [], sizes=Sizes(single_file=single_file, hits_format="trec"))
        assert "holds no hits" in message


def test_documents_that_have_no_rows_or_too_many(inline: InlineRay, tmp_path: Path) -> None:
    documents: tuple[list[Any], list[Any]] = (["x", "y", "z", "x"], ["x", "x", "x", "w"])
    message = refused(tmp_path, QUERIES, CORPUS, None, documents)
    assert "2 queries have a document (column 'doc') that no row of the corpus has: 'q2' ('y'), 'q3' ('z')" in message
    with mock.patch("st_ray.runtime.rerank.in_document.MAX_CANDIDATES", 2):
        message = refused(tmp_path, QUERIES, CORPUS, None, (["x"] * 4, documents[1]))
        assert "query 'q1' has 3 candidates, all rows of document 'x'; 2 are the most" in message
        with pytest.raises(ConfigError, match="every query would have 4 candidates; 2 are the most"):
            Case(QUERIES, CORPUS).prepare(tmp_path)
    message = refused(tmp_path, QUERIES, CORPUS, None, ([None] * 4, ["x"] * 4))
    assert "--document-column doc: rows that cannot be used: 4" in message
    case = Case({"q1": "one"}, CORPUS, None, (["x"], ["x", None, "y", "x"]), on_bad_row="skip", sizes=SMALL)
    assert [pair[2] for pair in pairs_of(case.prepare(tmp_path))[0]] == ["a", "d"]


HITS: Hits = [("q1", ["a", "b", "c"]), ("q2", ["c", "b"]), ("q3", ["d"])]


@pytest.mark.parametrize("hits", ["folder", "file", "none"])
def test_a_second_run_looks_at_nothing_but_stamps(inline: InlineRay, tmp_path: Path, hits: str) -> None:
    queries = {key: text for key, text in QUERIES.items() if key != "q4"}
    case = Case(queries, CORPUS, None if hits == "none" else HITS, sizes=Sizes(single_file=hits == "file"))
    first = case.prepare(tmp_path)
    request = case.write(tmp_path)
    stamped = prepare_candidates(request, str(tmp_path / "out"), mock.Mock(lost=False))
    tasks = inline.tasks
    with mock.patch.object(candidates, "prepare_corpus", side_effect=AssertionError("scanned")):
        again = prepare_candidates(request, str(tmp_path / "out"), mock.Mock(lost=False))
    assert inline.tasks == tasks
    assert again == stamped
    staged = [pair[:4] for pair in itertools.chain(*pairs_of(again))]
    assert staged == [pair[:4] for pair in itertools.chain(*pairs_of(first))]
    assert len(staged) == (12 if hits == "none" else 6)


def test_a_small_input_needs_few_tasks(inline: InlineRay, tmp_path: Path) -> None:
    assert len(Case(QUERIES, CORPUS, HITS).prepare(tmp_path).shards) == 2
    assert inline.tasks == 7


def test_what_changed_is_staged_anew(inline: InlineRay, tmp_path: Path) -> None:
    before = Case(QUERIES, CORPUS, HITS).prepare(tmp_path)
    after = Case(QUERIES, CORPUS | {"b": "new"}, HITS).prepare(tmp_path)
    assert pairs_of(after)[0][1] == ("q1", "one", "b", "new", -2.0)
    assert {name for name in before.lineage if before.lineage[name] != after.lineage[name]} == {"corpus"}
    fewer = Case(QUERIES, CORPUS, HITS[:1]).prepare(tmp_path)
    assert pairs_of(fewer) == [expected(Case(QUERIES, CORPUS, HITS[:1]))]


def test_staged_texts_that_are_gone_or_damaged_are_named(inline: InlineRay, tmp_path: Path) -> None:
    shard = Case(QUERIES, CORPUS, HITS, sizes=SMALL).prepare(tmp_path).shards[0]
    path = Path(shard.document_files[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(InputError, match=r"part-0000\d\.parquet: cannot be read"):
        read_candidates(shard)
    path.unlink()
    with pytest.raises(InputError, match=r"part-0000\d\.parquet: no such file"):
        read_candidates(shard)
    path.write_bytes(Path(shard.query_files[0]).read_bytes())
    with pytest.raises(InputError, match="start the job again with --overwrite"):
        read_candidates(shard)


def test_hits_that_change_under_a_job_are_noticed(inline: InlineRay, tmp_path: Path) -> None:
    shard = Case(QUERIES, CORPUS, [("q1", ["a", "b"])]).prepare(tmp_path).shards[0]
    write_hits(tmp_path / "hits", [("q1", ["a"]), ("q2", ["b"])], Sizes())
    with pytest.raises(InputError, match="2 hits of 2 queries, where 2 of 1 were found before"):
        read_candidates(shard)
