"""The job that scores pairs without Ray: every format and layout, what is wrong with rows and columns, any cut."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError, InputError, ModelError, OutputError, ShardError, StRayError
from st_ray.runtime.pipeline import Row, pack
from st_ray.runtime.resources import Node
from st_ray.runtime.result import JobResult
from st_ray.runtime.score_pairs.config import ScorePairsConfig
from st_ray.runtime.score_pairs.job import score_pairs
from st_ray.runtime.score_pairs.summary import score_pairs_summary
from st_ray.runtime.stage import Stage
from st_ray.runtime.stage_result import StageResult
from st_ray.runtime.training.formats import ReadRows, read_spec
from st_ray.runtime.training.layout import ExampleFlags, find_layout
from st_ray.store.output import OutputFolder, Writer
from st_ray.store.readers.plan import cut_shards
from st_ray.store.readers.scan import scan_file
from st_ray.store.readers.sources import input_columns, resolve_inputs
from st_ray.store.readers.spec import ReadSpec
from tests.models.tiny_models import save_tiny_classifier
from tests.ray.corpora import counted_scores, histogram_text, part_bytes_of, table_of
from tests.stubs import StubScorerLoader, stub_score, stub_scores

MODULE = "st_ray.runtime.data_scoring"


class InlineMeter:
    """Both ends of a meter that counts nothing."""

    idle_since: float | None = None

    def client(self) -> InlineMeter:
        return self

    def add(self, **amounts: float) -> None:
        pass

    def put(self, **values: float) -> None:
        pass

    def flush(self) -> None:
        pass

    def read(self) -> dict[str, float]:
        return {}


def run_steps(stage: Stage, output: OutputFolder, writer: Writer, *_: Any) -> StageResult:
    """`run_stage`, one shard after another in this process."""
    committed, fresh = output.committed(writer), {}
    connect: Any = stage.connect
    for name, task in zip(stage.names(), stage.tasks, strict=True):
        if name not in committed:
            row: Row = {"name": name, "task": pack(task)}
            fresh[name] = writer.commit(name, stage.finish({**row, **connect(row, False)}))
    entries = tuple((committed | fresh)[name] for name in stage.names())
    return StageResult(entries, tuple(fresh.values()), len(committed), 0, 0, 0, 0)


@contextmanager
def inline() -> Iterator[None]:
    replaced = {
        f"{MODULE}.job_session": lambda *_, **__: nullcontext(),
        f"{MODULE}.data_context": lambda debug: None,
        f"{MODULE}.run_stage": run_steps,
        f"{MODULE}.Meter": InlineMeter,
        "st_ray.runtime.compute.cluster_nodes": lambda: [Node(2, 0)],
        "st_ray.runtime.compute.cluster_can_grow": lambda: False,
        "st_ray.runtime.pipeline.TasksThenActors": lambda read, make, actors: lambda row, careful: make()(read(row)),
        "st_ray.store.fs.os.fsync": lambda descriptor: None,
    }
    with ExitStack() as stack:
        for name, value in replaced.items():
            stack.enter_context(mock.patch(name, value))
        yield


def config_of(*data: Path | str, output: Path | str, **changes: Any) -> ScorePairsConfig:
    usual: dict[str, Any] = {"cross_encoder": "stub", "shard_rows": 2}
    return ScorePairsConfig(data=tuple(map(str, data)), output=str(output), **{**usual, **changes})


def scored(*data: Path | str, output: Path | str, loader: Any = None, **changes: Any) -> JobResult:
    with inline():
        return score_pairs(config_of(*data, output=output, **changes), loader or StubScorerLoader())


def write_table(path: Path, columns: Mapping[str, Sequence[Any]], header: bool = True) -> Path:
    """Columns in the format of the file's name."""
    kind, _, compression = path.name.partition(".")[2].partition(".")
    if kind == "parquet":
        pq.write_table(pa.table(dict(columns)), path)
        return path
    rows = list(zip(*columns.values(), strict=True))
    if kind == "jsonl":
        text = "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)
    else:
        sink = io.StringIO()
        csv.writer(sink, delimiter="\t" if kind == "tsv" else ",").writerows([list(columns)] * header + rows)
        text = sink.getvalue()
    compress = {"gz": gzip.compress, "zst": zstandard.compress, "": bytes}[compression]
    path.write_bytes(compress(text.encode()))
    return path


PAIRS = {"one": ["a b", "d", "a b", "x", "a b"], "two": ["c", "é, f", "g", "", "c"]}
TUPLES = {
    "query": ["q", "q", "r"],
    "positive": ["p", "p", "s"],
    "negative_1": ["n1", "n3", "n1"],
    "negative_2": ["n2", "p", "n5"],
}
LISTS = {"query": ["q", "r", "s", "q"], "documents": [["a", "b", "a"], ["a"], [], ["c", "a"]]}


def scores_of_pairs(columns: Mapping[str, Sequence[Any]] = PAIRS) -> list[float]:
    return [stub_score(*pair) for pair in zip(*columns.values(), strict=True)]


def scores_of_rows(columns: Mapping[str, Sequence[Any]]) -> list[list[float]]:
    rows = [(row[0], row[1] if isinstance(row[1], list) else row[1:]) for row in zip(*columns.values(), strict=True)]
    return [[stub_score(query, document) for document in documents] for query, documents in rows]


# --- formats and layouts


@pytest.mark.parametrize("extension", ["parquet", "jsonl", "csv", "tsv", "jsonl.gz", "csv.zst", "tsv.gz"])
def test_pairs_of_every_format(tmp_path: Path, extension: str) -> None:
    path = write_table(tmp_path / f"pairs.{extension}", PAIRS)
    result = scored(path, output=tmp_path / "out")
    table = table_of(tmp_path / "out")
    assert table.schema.names == ["one", "two", "score"] and table.schema.field("score").type == pa.float32()
    assert table.to_pydict() == {**PAIRS, "score": scores_of_pairs()}
    assert [entry.rows for entry in result.manifest.entries] == [2, 2, 1]
    assert result.manifest.kind == "scored pairs"
    about = result.manifest.about
    assert (about["format"], about["pairs"], about["rows"]) == ("pairs", 5, 5)
    assert about["scores"] == pytest.approx(
        {"min": min(scores_of_pairs()), "mean": np.mean(scores_of_pairs()), "max": max(scores_of_pairs())}
    )


@pytest.mark.parametrize("extension", ["parquet", "jsonl", "csv"])
def test_tuples(tmp_path: Path, extension: str) -> None:
    path = write_table(tmp_path / f"tuples.{extension}", {"label": ["1", "0", "1"], **TUPLES})
    result = scored(path, output=tmp_path / "out")
    table = table_of(tmp_path / "out")
    assert table.schema.names == [*TUPLES, "scores"] and table.schema.field("scores").type == pa.list_(pa.float32())
    assert table.to_pydict() == {**TUPLES, "scores": scores_of_rows(TUPLES)}
    assert (result.manifest.about["format"], result.manifest.about["pairs"]) == ("tuples", 9)


@pytest.mark.parametrize("extension", ["parquet", "jsonl"])
def test_lists(tmp_path: Path, extension: str) -> None:
    path = write_table(tmp_path / f"lists.{extension}", {**LISTS, "labels": [[1, 0, 0], [1], [], [0, 1]]})
    result = scored(path, output=tmp_path / "out")
    assert table_of(tmp_path / "out").to_pydict() == {**LISTS, "scores": scores_of_rows(LISTS)}
    assert (result.manifest.about["format"], result.manifest.about["pairs"]) == ("lists", 6)


def test_several_labels_of_pairs(tmp_path: Path) -> None:
    path = write_table(tmp_path / "pairs.jsonl", PAIRS)
    result = scored(path, output=tmp_path / "out", loader=StubScorerLoader(labels=3))
    table = table_of(tmp_path / "out")
    assert table.schema.field("scores").type == pa.list_(pa.float32())
    assert table["scores"].to_pylist() == [
        stub_scores(*pair, labels=3).tolist() for pair in zip(*PAIRS.values(), strict=True)
    ]
    assert "5, 3 scores each" in score_pairs_summary(result)


@pytest.mark.parametrize("labels", [1, 3, 6])
def test_scores_are_counted_by_label(tmp_path: Path, labels: int) -> None:
    path = write_table(tmp_path / "pairs.jsonl", PAIRS)
    scored(path, output=tmp_path / "out", loader=StubScorerLoader(labels=labels))
    scores = np.array([stub_scores(*pair, labels=labels) for pair in zip(*PAIRS.values(), strict=True)])
    names = [f"label {label} of {labels}" for label in (1, 2, 3, 4)[:labels]] if labels > 1 else ["all pairs"]
    expected = {name: histogram_text(scores[:, label]) for label, name in enumerate(names)}
    assert counted_scores(tmp_path / "out") == expected


@pytest.mark.parametrize("source", [TUPLES, LISTS])
def test_several_labels_are_not_for_tuples_and_lists(tmp_path: Path, source: Mapping[str, Any]) -> None:
    path = write_table(tmp_path / "rows.jsonl", source)
    model = save_tiny_classifier(tmp_path / "three", labels=3)
    with inline(), pytest.raises(ModelError, match="three has 3 labels, and a document of a tuple or a list has one"):
        score_pairs(config_of(path, output=tmp_path / "out", cross_encoder=str(model)))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ModelError, match="3 labels"):
        scored(path, output=tmp_path / "out", loader=StubScorerLoader(labels=3))


@pytest.mark.parametrize("ids", [["r1", "r2", "r3", "r4", "r5"], [3, 1, 4, 15, 9]])
def test_ids_are_kept(tmp_path: Path, ids: list[Any]) -> None:
    path = write_table(tmp_path / "pairs.parquet", {"key": ids, **PAIRS})
    scored(path, output=tmp_path / "out", id_column="key")
    assert table_of(tmp_path / "out").to_pydict() == {"id": ids, **PAIRS, "score": scores_of_pairs()}
    twice = write_table(tmp_path / "twice.parquet", {"key": ids[:1] * 5, **PAIRS})
    with pytest.raises(InputError, match="same id more than once"):
        scored(twice, output=tmp_path / "other", id_column="key")


def test_columns_are_chosen(tmp_path: Path) -> None:
    """By their names, without a header line, and past those that are no texts."""
    more = write_table(tmp_path / "more.jsonl", {"id": list("abcde"), **PAIRS, "label": ["x"] * 5, "score": ["y"] * 5})
    scored(more, output=tmp_path / "more")
    assert table_of(tmp_path / "more").schema.names == ["one", "two", "score"]
    scored(more, output=tmp_path / "named", text_columns=("two", "label"))
    labels = [stub_score(text, "x") for text in PAIRS["two"]]
    assert table_of(tmp_path / "named").to_pydict() == {"two": PAIRS["two"], "label": ["x"] * 5, "score": labels}
    scored(more, output=tmp_path / "three", text_columns=("one", "two", "id"))
    assert table_of(tmp_path / "three")["scores"].to_pylist()[1] == [stub_score("d", "é, f"), stub_score("d", "b")]
    path = tmp_path / "triples.tsv"
    path.write_text('what is "x"\tx is y\t"it said\nwho\tme\tyou\n')
    names = ("query", "positive", "negative")
    scored(path, output=tmp_path / "triples", columns=names, quotes=False)
    triples = {"query": ['what is "x"', "who"], "positive": ["x is y", "me"], "negative": ['"it said', "you"]}
    assert table_of(tmp_path / "triples").to_pydict() == {**triples, "scores": scores_of_rows(triples)}
    lists = write_table(tmp_path / "lists.jsonl", {"other": ["x"] * 4, "name": ["y"] * 4, **LISTS})
    scored(lists, output=tmp_path / "lists", text_columns=("other", "documents"))
    assert table_of(tmp_path / "lists").schema.names == ["other", "documents", "scores"]


def test_a_prompt_stands_before_the_first_text(tmp_path: Path) -> None:
    path = write_table(tmp_path / "pairs.csv", PAIRS)
    scored(path, output=tmp_path / "out", prompt="ask: ")
    expected = [stub_score(*pair, prompt="ask: ") for pair in zip(*PAIRS.values(), strict=True)]
    assert table_of(tmp_path / "out")["score"].to_pylist() == expected != scores_of_pairs()


# --- what training makes of it


def examples_of(folder: Path, loss: str) -> tuple[str, list[tuple[Any, ...]], list[list[float]]]:
    """Layout, texts and labels that training finds without any flag of columns."""
    flags = ExampleFlags(data=(str(folder),), loss=loss)
    layout = find_layout(input_columns(flags.data, ReadSpec()), flags)
    files, spec = resolve_inputs(flags.data, read_spec(layout, flags))
    scans = [scan_file(file, spec, mark_every=10, staging=None, want_ids=False) for file in files]
    blocks = [ReadRows(spec, layout, flags)(plan).rows for plan in cut_shards(files, scans, 100)]
    texts = [row for block in blocks for row in zip(block.first, *block.others, strict=True)]
    return layout.format, texts, [labels for block in blocks for labels in block.labels.tolist()]


@pytest.mark.parametrize("ids", [None, list("vwxyz")])
@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_training_reads_scored_pairs(tmp_path: Path, loss: str, ids: list[str] | None) -> None:
    path = write_table(tmp_path / "pairs.parquet", PAIRS if ids is None else {"key": ids, **PAIRS})
    scored(path, output=tmp_path / "out", id_column=None if ids is None else "key")
    for folder in (tmp_path / "out", tmp_path / "out" / "data"):
        expected = list(zip(*PAIRS.values(), strict=True)), [[score] for score in scores_of_pairs()]
        assert examples_of(folder, loss) == ("pairs", *expected)


@pytest.mark.parametrize("ids", [None, list("xyz")])
@pytest.mark.parametrize("names", [tuple(TUPLES), ("ask", "good", "bad", "worse")])
def test_training_reads_scored_tuples(tmp_path: Path, names: tuple[str, ...], ids: list[str] | None) -> None:
    columns = dict(zip(names, TUPLES.values(), strict=True))
    path = write_table(tmp_path / "tuples.parquet", columns if ids is None else {**columns, "key": ids})
    flags: dict[str, Any] = {} if names == tuple(TUPLES) else {"text_columns": names}
    scored(path, output=tmp_path / "out", id_column=None if ids is None else "key", **flags)
    rows, scores = list(zip(*TUPLES.values(), strict=True)), scores_of_rows(TUPLES)
    assert examples_of(tmp_path / "out", "margin-mse") == ("tuples", rows, scores)
    pairs = [(query, document) for query, *documents in rows for document in documents]
    assert examples_of(tmp_path / "out", "mse") == ("tuples", pairs, [[score] for row in scores for score in row])


@pytest.mark.parametrize("order", [(0, 1, 3, 2), (0, 2, 3, 1)])
def test_each_document_keeps_its_own_score(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Training finds columns by their names, whatever order they were named in."""
    path = write_table(tmp_path / "tuples.parquet", TUPLES)
    scored(path, output=tmp_path / "out", text_columns=tuple(list(TUPLES)[place] for place in order))
    rows, scores = list(zip(*TUPLES.values(), strict=True)), scores_of_rows(TUPLES)
    assert examples_of(tmp_path / "out", "margin-mse") == ("tuples", rows, scores)
    with pytest.raises(ConfigError, match="names 'positive' as the query, training would take 'query'"):
        scored(path, output=tmp_path / "other", text_columns=("positive", "query", "negative_1"))


@pytest.mark.parametrize("name", ["query", "ask"])
def test_training_reads_scored_lists(tmp_path: Path, name: str) -> None:
    columns = {"key": list("abc"), name: ["q", "r", "s"], "docs": [["a", "b"], ["a"], ["c", "a"]]}
    scored(write_table(tmp_path / "lists.jsonl", columns), output=tmp_path / "out", text_columns=(name, "docs"))
    pairs = [("q", "a"), ("q", "b"), ("r", "a"), ("s", "c"), ("s", "a")]
    expected = pairs, [[stub_score(*pair)] for pair in pairs]
    assert examples_of(tmp_path / "out", "mse") == ("lists", *expected)


# --- what is wrong


def test_equal_pairs_of_a_shard_are_scored_once(tmp_path: Path) -> None:
    path = write_table(tmp_path / "tuples.parquet", TUPLES)
    result = scored(path, output=tmp_path / "out", shard_rows=3)
    # (q, p) stands there three times, as a positive and as a negative.
    assert result.manifest.about["pairs"] == 9 and result.manifest.run["pairs"] == 7
    assert table_of(tmp_path / "out")["scores"].to_pylist() == scores_of_rows(TUPLES)
    summary = score_pairs_summary(result)
    named = "tuples of query, positive, negative_1, negative_2"
    for part in (named, "9, of which 2 had their score from an equal one", "7 pairs", f"{tmp_path / 'out'}/data"):
        assert part in summary


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        ({"one": "a", "two": ""}, {"one": "x", "two": None}, "column 'two' is null"),
        ({"one": "a", "two": "b"}, {"one": 7, "two": "x"}, "column 'one' is of type integer, not string"),
        ({"one": "a", "two": "b"}, {"one": "x"}, "column 'two' is missing"),
        ({"one": "a", "docs": ["b"]}, {"one": "q", "docs": ["a", None]}, "column 'docs' holds a list with"),
        ({"one": "a", "positive": "b", "negative": "c"}, {"one": "q", "positive": "p", "negative": 1}, "column 'neg"),
    ],
)
def test_bad_rows_are_named_or_left_out(tmp_path: Path, good: Row, bad: Row, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, good, bad, good)))
    with pytest.raises(InputError) as caught:
        scored(path, output=tmp_path / "out")
    assert f"{path}, row 3: {reason}" in str(caught.value)
    # What was refused does not stand in the way of other flags.
    result = scored(path, output=tmp_path / "out", on_bad_row="skip", shard_rows=1)
    assert (result.manifest.rows, sum(result.manifest.dropped.values())) == (3, 1)
    assert table_of(tmp_path / "out")["one"].to_pylist() == ["a"] * 3
    (rejects,) = (tmp_path / "out" / "rejects.parquet").iterdir()
    assert pq.read_table(rejects)["row"].to_pylist() == [2]
    assert "rows left out" in score_pairs_summary(result)


TEXTS = {"a": ["x"], "b": ["y"], "c": ["z"]}


@pytest.mark.parametrize(
    ("columns", "flags", "error", "message"),
    [
        (TEXTS, {}, InputError, "pairs have two columns of texts; columns found: a (string), b (string), c (string)"),
        ({"a": ["x"]}, {}, InputError, "pairs have two columns of texts; columns found: a (string)"),
        (TEXTS, {"text_columns": ("a", "d")}, InputError, "no column 'd'"),
        (TEXTS, {"text_columns": ("a", "b"), "id_column": "d"}, InputError, "no column 'd'"),
        ({**TEXTS, "docs": [["x"]]}, {}, InputError, "lists are a column of texts and one of lists of texts"),
        ({**TEXTS, "negative": ["x"]}, {}, InputError, "tuples are a query, a positive, and negatives called"),
        ({"a": ["x"], "n": [1]}, {"text_columns": ("a", "n")}, InputError, "column 'n' holds integer, not strings"),
        (TEXTS, {"text_columns": ("a",)}, ConfigError, "names 'a' alone"),
        (TEXTS, {"text_columns": ("a", "b", "a")}, ConfigError, "column 'a' is named for two uses"),
        ({"a": ["x"], "score": ["y"]}, {"text_columns": ("a", "score")}, ConfigError, "two columns named 'score'"),
        (
            {"a": ["x"], "id": ["y"]},
            {"text_columns": ("a", "id"), "id_column": "id"},
            ConfigError,
            "two columns named 'id'",
        ),
    ],
)
def test_columns_that_do_not_fit(
    tmp_path: Path, columns: Mapping[str, Any], flags: dict[str, Any], error: type[StRayError], message: str
) -> None:
    path = write_table(tmp_path / "data.parquet", columns)
    with pytest.raises(error) as caught:
        scored(path, output=tmp_path / "out", **flags)
    assert message in str(caught.value)
    assert caught.value.remedy and "--label-column" not in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match=r"empty\.jsonl: no input holds any row"):
        scored(tmp_path / "empty.jsonl", output=tmp_path / "out")
    (tmp_path / "header.csv").write_text("one,two\n")
    with pytest.raises(InputError, match="the input has no rows"):
        scored(tmp_path / "header.csv", output=tmp_path / "out")
    path = write_table(tmp_path / "pairs.csv", PAIRS)
    scored(tmp_path / "header.csv", path, output=tmp_path / "out")
    assert table_of(tmp_path / "out")["score"].to_pylist() == scores_of_pairs()
    with pytest.raises(InputError, match="no such file or folder"):
        scored(tmp_path / "none.csv", output=tmp_path / "none")


def test_rows_without_any_pair(tmp_path: Path) -> None:
    """A list may be empty, and a shard may have bad rows alone."""
    path = tmp_path / "lists.jsonl"
    rows = [{"query": "q", "docs": []}] * 2 + [{"query": None, "docs": ["a"]}] * 2
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = scored(path, output=tmp_path / "out", on_bad_row="skip")
    assert [entry.rows for entry in result.manifest.entries] == [2, 0]
    assert table_of(tmp_path / "out").to_pydict() == {"query": ["q", "q"], "docs": [[], []], "scores": [[], []]}
    assert result.manifest.about["scores"] is None
    assert "on average" not in score_pairs_summary(result)


def test_a_score_that_is_not_finite(tmp_path: Path) -> None:
    lists = write_table(tmp_path / "lists.jsonl", {"key": list("wxyz"), **LISTS})
    names: dict[str, Any] = {"id_column": "key", "loader": StubScorerLoader(nan="c")}
    with pytest.raises(ShardError, match=r"the score of document 1 of row 4 \(id 'z'\) is not finite"):
        scored(lists, output=tmp_path / "lists", **names)
    tuples = write_table(tmp_path / "tuples.jsonl", TUPLES)
    with pytest.raises(ShardError, match="the score of document 3 of row 3 is not finite"):
        scored(tuples, output=tmp_path / "tuples", loader=StubScorerLoader(nan="n5"))
    pairs = write_table(tmp_path / "pairs.jsonl", PAIRS)
    with pytest.raises(ShardError, match="the score of row 3 is not finite"):
        scored(pairs, output=tmp_path / "pairs", loader=StubScorerLoader(nan="g"))


# --- cuts and interruptions


def test_finished_resumed_refused_and_begun_again(tmp_path: Path) -> None:
    path = write_table(tmp_path / "tuples.csv", TUPLES)
    first = scored(path, output=tmp_path / "out", shard_rows=1)
    whole = part_bytes_of(tmp_path / "out")
    again = scored(path, output=tmp_path / "out", shard_rows=1)
    assert again.already_complete and again.manifest == first.manifest
    assert "nothing to do" in score_pairs_summary(again)
    for flags, part in (
        ({"prompt": "ask: "}, "prompt: '' before, 'ask: ' now"),
        ({"text_columns": ("query", "positive")}, "values: "),
        ({"shard_rows": 3}, "shard_rows: 1 before, 3 now"),
        ({"loader": StubScorerLoader(labels=2)}, "cross_encoder: "),
    ):
        with pytest.raises(OutputError, match=part):
            scored(path, output=tmp_path / "out", **{"shard_rows": 1, **flags})
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "commits" / "part-00001.json").unlink()
    resumed = scored(path, output=tmp_path / "out", shard_rows=1)
    assert resumed.manifest.run["shards_done_before"] == 2
    assert part_bytes_of(tmp_path / "out") == whole
    assert resumed.manifest.entries == first.manifest.entries
    over = scored(path, output=tmp_path / "out", text_columns=("query", "positive"), overwrite=True)
    assert over.manifest.about["format"] == "pairs" and over.manifest.run["shards_done_before"] == 0
    write_table(path, PAIRS)
    with pytest.raises(OutputError, match="input: "):
        scored(path, output=tmp_path / "out", text_columns=("one", "two"))


TEXT = st.sampled_from(["", "a", "b", "the cat", "é"])


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=4)), min_size=1, max_size=12),
    cut=st.integers(1, 13),
)
def test_any_cut_gives_the_same_scores(
    rows: list[tuple[str, list[str]]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = write_table(folder / "lists.jsonl", {"query": [q for q, _ in rows], "docs": [docs for _, docs in rows]})
    scored(path, output=folder / "out", shard_rows=cut)
    found = table_of(folder / "out")
    assert found["docs"].to_pylist() == [docs for _, docs in rows]
    assert found["scores"].to_pylist() == [[stub_score(query, text) for text in docs] for query, docs in rows]
