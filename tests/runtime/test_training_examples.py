"""From files to examples, without Ray: every format, what is wrong with rows and columns, any cut and interruption."""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError, InputError, OutputError, StRayError
from st_ray.mining.candidates import Candidates, QueryGroups
from st_ray.mining.formats import FORMATS, Layout, Mined, to_table
from st_ray.models.folder import read_model_folder
from st_ray.runtime.training.config import TrainCrossEncoderConfig
from st_ray.runtime.training.job import _Run
from st_ray.runtime.training.layout import ExampleFlags
from st_ray.runtime.training.prepare import ExampleRequest, PreparedExamples, example_request, prepare_examples
from st_ray.runtime.training.rows import ExampleMaker, Kind
from st_ray.store.lock import OutputLock
from st_ray.training.examples import Block
from tests.inline_ray import inline_ray
from tests.models.tiny_models import save_tiny_backbone, save_tiny_classifier, save_tiny_model
from tests.stubs import StubLoader, StubScorerLoader

MODULE = "st_ray.runtime.training.prepare"
Example = tuple[tuple[str, ...], tuple[float, ...]]
"""Its texts (of a cross-encoder the first and the others), and its labels."""


def maker_of(kind: Kind, prompt: str = "") -> ExampleMaker:
    """One with a token a byte."""
    loader: Any = StubScorerLoader() if kind == "cross-encoder" else StubLoader()
    return ExampleMaker(kind, loader, prompt, {"tokenizer": repr(loader), "prompt": prompt})


def request_of(*data: Path, kind: Kind = "cross-encoder", prompt: str = "", **flags: Any) -> ExampleRequest:
    loss = "bce" if kind == "cross-encoder" else "cosine"
    named = ExampleFlags(data=tuple(map(str, data)), **{"loss": loss, **flags})
    return example_request(named, maker_of(kind, prompt))


@contextmanager
def lock_of(folder: Path) -> Iterator[OutputLock]:
    with OutputLock(str(folder / "lock.json")) as lock:
        yield lock


def prepared(folder: Path, request: ExampleRequest, name: str = "examples") -> PreparedExamples:
    with inline_ray(MODULE), lock_of(folder) as lock:
        return prepare_examples(request, str(folder / name), lock)


def texts_of(block: Block) -> list[Example]:
    """What the stubs' tokens spell."""
    inputs = []
    for row, length in enumerate(block.tokens.lengths.tolist()):
        ids = block.tokens.padded(np.array([row]), length, 0)[0][0].tolist()
        if ids[0] == 256:
            middle = ids.index(257)
            inputs.append((bytes(ids[1:middle]).decode(), bytes(ids[middle + 1 : -1]).decode()))
        else:
            inputs.append((bytes(ids[1:]).decode(),))
    found = []
    for row, labels in enumerate(block.labels.tolist()):
        own = inputs[row :: len(block)]
        first = own[0][:1] if len(own[0]) == 2 else ()
        found.append(((*first, *(some[-1] for some in own)), tuple(labels)))
    return found


def examples_of(folder: Path, request: ExampleRequest, name: str = "examples") -> list[Example]:
    examples = prepared(folder, request, name).open()
    assert (examples.inputs, examples.labels) == (request.inputs, request.labels)
    return texts_of(examples.take(np.arange(len(examples))))


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return path


# --- pairs


PAIRS = [("a b", "c", 5.0), ("d", "é, f", 0.0), ("a b", "g", 2.5)]


@pytest.mark.parametrize("extension", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("loss", ["bce", "mse", "cosent"])
def test_pairs_with_divided_labels(tmp_path: Path, extension: str, loss: str) -> None:
    kind: Kind = "bi-encoder" if loss == "cosent" else "cross-encoder"
    path = tmp_path / f"pairs.{extension}"
    names = ("one", "two", "score")
    if extension == "parquet":
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*PAIRS, strict=True)), strict=True))), path)
    elif extension == "jsonl":
        write_lines(path, [dict(zip(names, pair, strict=True)) for pair in PAIRS])
    else:
        write_csv(path, [names, *PAIRS])
    request = request_of(path, kind=kind, loss=loss, label_scale=5.0, prompt="q: ")
    first = "q: {}".format
    second = first if kind == "bi-encoder" else str
    assert examples_of(tmp_path, request) == [((first(a), second(b)), (label / 5,)) for a, b, label in PAIRS]
    found = prepared(tmp_path, request)
    assert (found.examples, found.rows, found.labels, found.dropped) == (3, 3, (0.0, 1.0), {})
    assert found.tokens == int(found.open().take(np.arange(3)).tokens.lengths.sum())


def test_columns_that_the_flags_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "pairs.csv", [("1", "x", "y", "0.5", "z")])
    columns = ("id", "question", "answer", "grade", "note")
    request = request_of(path, columns=columns, text_columns=("answer", "question"), label_columns=("grade",))
    assert examples_of(tmp_path, request) == [(("y", "x"), (0.5,))]


def test_classes(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"a": "x", "b": "y", "label": label} for label in (0, 2.0, True)])
    found = prepared(tmp_path, request_of(path, loss="ce"))
    assert found.open().take(np.arange(3)).labels.tolist() == [[0.0], [2.0], [1.0]]
    assert found.classes == 3
    zeros = write_lines(tmp_path / "zeros.jsonl", [{"a": "x", "b": "y", "label": 0}])
    assert prepared(tmp_path, request_of(zeros, loss="ce"), "zeros").classes == 2
    with pytest.raises(InputError, match=r"holds 2\.0, not 0 or 1"):
        prepared(tmp_path, request_of(path, loss="ce").for_evaluation((str(path),), classes=2), "few")


# --- tuples


TUPLES = [("q", "p", "n1", "n2"), ("q", "p", "n3", "n4"), ("r", "s", "n1", "n5")]


def write_tuples(path: Path, **more: Any) -> Path:
    names = ("query", "positive", "negative_1", "negative_2")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*TUPLES, strict=True)), strict=True)) | more), path)
    return path


def test_tuples_as_pairs(tmp_path: Path) -> None:
    path = write_tuples(tmp_path / "tuples.parquet", scores=[[9.0, 1.0, 2.0]] * 3)
    once = [(("q", "p"), (1.0,)), *((("q", text), (0.0,)) for text in ("n1", "n2", "n3", "n4"))]
    then = [(("r", "s"), (1.0,)), (("r", "n1"), (0.0,)), (("r", "n5"), (0.0,))]
    # Their scores are for other losses, unless they are named.
    assert examples_of(tmp_path, request_of(path)) == once + then
    assert examples_of(tmp_path, request_of(path, kind="bi-encoder"), "bi") == once + then
    fewer = examples_of(tmp_path, request_of(path, negatives_per_positive=3), "fewer")
    assert [texts for texts, label in fewer if label == (1.0,)] == [("q", "p"), ("q", "p")]
    assert len(fewer) == 8
    again = examples_of(tmp_path, request_of(path, negatives_per_positive=2), "again")
    assert [texts[1] for texts, _ in again] == ["p", "n1", "n2", "p", "n3", "n4", "s", "n1", "n5"]


@pytest.mark.parametrize("as_list", [True, False])
def test_tuples_with_scores(tmp_path: Path, as_list: bool) -> None:
    scores = [[9.0, 1.0, 2.0], [8.0, 3.0, 0.5], [7.0, -1.0, 0.0]]
    columns = dict(zip(("sp", "s1", "s2"), map(list, zip(*scores, strict=True)), strict=True))
    path = write_tuples(tmp_path / "tuples.parquet", **({"scores": scores} if as_list else columns))
    flags: dict[str, Any] = {} if as_list else {"label_columns": ("sp", "s1", "s2")}
    margins = examples_of(tmp_path, request_of(path, loss="margin-mse", **flags))
    assert margins == [(texts, tuple(row)) for texts, row in zip(TUPLES, scores, strict=True)]
    pairs = examples_of(tmp_path, request_of(path, loss="mse", label_scale=2.0, **flags), "mse")
    assert pairs == [
        ((texts[0], text), (score / 2,))
        for texts, row in zip(TUPLES, scores, strict=True)
        for text, score in zip(texts[1:], row, strict=True)
    ]


def test_triples_of_ms_marco(tmp_path: Path) -> None:
    """Without a header line, and with quotes that are no quotes."""
    lines = ['what is "x"\tx is y\t"it said', 'what is "x"\tx is y\tz', "who\tme\tyou"]
    path = tmp_path / "triples.train.small.tsv"
    path.write_text("\n".join(lines) + "\n")
    request = request_of(path, columns=("query", "positive", "negative"), quotes=False)
    assert examples_of(tmp_path, request) == [
        (('what is "x"', "x is y"), (1.0,)),
        (('what is "x"', '"it said'), (0.0,)),
        (('what is "x"', "z"), (0.0,)),
        (("who", "me"), (1.0,)),
        (("who", "you"), (0.0,)),
    ]


# --- lists, and what mining writes


def test_lists(tmp_path: Path) -> None:
    rows = [
        {"query": "q", "docs": ["a", "b", "a"], "labels": [1, 0.25, 0]},
        {"query": "r", "docs": ["a"], "labels": [0]},
    ]
    path = write_lines(tmp_path / "lists.jsonl", rows)
    request = request_of(path)
    assert request.layout.format == "lists"
    expected = [(("q", "a"), (1.0,)), (("q", "b"), (0.25,)), (("q", "a"), (0.0,)), (("r", "a"), (0.0,))]
    assert examples_of(tmp_path, request) == expected


MINED = Mined(
    QueryGroups(
        pa.array(["q", "r"], pa.large_string()),
        pa.array(["p", "s", "t", "n", "m"], pa.large_string()),
        np.array([0, 1, 1]),
        np.array([0, 1, 2]),
        np.array([-1, -1]),
        added=0,
    ),
    np.float32([0.75, 0.5, 0.25]),
    Candidates(np.array([0, 0, 1, 1]), np.array([3, 4, 3, 0]), np.float32([0.5, 0.25, 0.125, 0.0])),
    2,
)


@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("output_format", FORMATS)
def test_what_mining_writes(tmp_path: Path, output_format: str, with_scores: bool) -> None:
    """The columns say what it is, whatever those of the mined data were called."""
    table = to_table(MINED, output_format, Layout("question", "answer", with_scores))
    pq.write_table(table, tmp_path / "mined.parquet")
    request = request_of(tmp_path / "mined.parquet", loss="mse" if with_scores else "bce")
    formats = {"labeled-pair": "pairs", "labeled-list": "lists"}
    assert request.layout.format == formats.get(output_format, "tuples")
    found = examples_of(tmp_path, request)
    positives = {("q", "p"): 0.75, ("r", "s"): 0.5, ("r", "t"): 0.25}
    negatives = {("q", "n"): 0.5, ("q", "m"): 0.25, ("r", "n"): 0.125, ("r", "p"): 0.0}
    if with_scores:
        assert dict(found) == {pair: (score,) for pair, score in {**positives, **negatives}.items()}
    else:
        assert dict(found) == {pair: (float(pair in positives),) for pair in {**positives, **negatives}}


def test_margins_of_mined_tuples(tmp_path: Path) -> None:
    for output_format in ("triplet", "n-tuple"):
        path = tmp_path / f"{output_format}.parquet"
        pq.write_table(to_table(MINED, output_format, Layout("anchor", "positive", True)), path)
        found = examples_of(tmp_path, request_of(path, loss="margin-mse"), output_format)
        assert len(found[0][0]) == 1 + len(found[0][1]) == (3 if output_format == "triplet" else 4)
        assert found[0][0][:3] == ("q", "p", "n") and found[0][1][:2] == (0.75, 0.5)


# --- what is wrong


@pytest.mark.parametrize(
    ("flags", "label", "reason"),
    [
        ({}, 3.5, "holds 3.5; --loss bce takes 0 to 1: --label-scale 3.5 would make it 1"),
        ({"label_scale": 5.0}, 6, "holds 6 (1.2 after --label-scale 5); --loss bce takes 0 to 1: --label-scale 6"),
        ({}, -0.5, "holds -0.5; --loss bce takes 0 to 1: no --label-scale brings it there"),
        ({"kind": "bi-encoder"}, -2, "holds -2; --loss cosine takes -1 to 1: --label-scale 2 would make it -1"),
        ({"loss": "ce"}, 0.5, "holds 0.5, not one of 0 to 65535"),
        ({"loss": "ce", "classes": 2}, 2, "holds 2, not 0 or 1"),
        ({"loss": "mse"}, "1", "is of type string, not a number"),
        ({"loss": "mse"}, 1e300, "holds 1e+300; --loss mse takes -3.40282e+38 to 3.40282e+38"),
        ({"loss": "mse"}, None, "is null"),
    ],
)
def test_labels_that_a_loss_cannot_use(tmp_path: Path, flags: dict[str, Any], label: Any, reason: str) -> None:
    rows = [{"one": "x", "two": "y", "label": value} for value in (1, 0, label, 1)]
    path = write_lines(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(InputError) as caught:
        prepared(tmp_path, request_of(path, **flags))
    assert f"{path}, row 3: column 'label' {reason}" in str(caught.value)
    assert "--on-bad-row skip" in caught.value.remedy
    # What was refused does not stand in the way of other flags.
    found = prepared(tmp_path, request_of(path, on_bad_row="skip", **flags))
    assert (found.examples, found.rows, sum(found.dropped.values())) == (3, 4, 1)
    (rejects,) = (tmp_path / "examples" / "rejects.parquet").iterdir()
    assert [(row["file"], row["row"]) for row in pq.read_table(rejects).to_pylist()] == [(str(path), 2)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"docs": ["a", "b"], "labels": [1]}, "column 'docs' holds 2 texts, column 'labels' 1 labels"),
        ({"docs": [], "labels": []}, "column 'docs' holds 0 texts, column 'labels' 0 labels"),
        ({"docs": ["a", "b"], "labels": [0, 2]}, "column 'labels' holds a list with 2; --loss bce takes 0 to 1"),
        ({"docs": ["a", None], "labels": [0, 1]}, "column 'docs' holds a list with a value of type null"),
        ({"docs": ["a"], "labels": None}, "column 'labels' is null"),
        ({"docs": None, "labels": [1]}, "column 'docs' is null"),
        ({"docs": ["a"], "labels": [1], "query": None}, "column 'query' is null"),
    ],
)
@pytest.mark.parametrize("extension", ["jsonl", "parquet"])
def test_bad_lists(tmp_path: Path, extension: str, row: dict[str, Any], reason: str) -> None:
    rows = [{"query": "q", "docs": ["a", "b"], "labels": [1, 0]}, {"query": "q", **row}]
    path = tmp_path / f"lists.{extension}"
    if extension == "jsonl":
        write_lines(path, rows)
    else:
        kinds = [("query", pa.string()), ("docs", pa.list_(pa.string())), ("labels", pa.list_(pa.float64()))]
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(kinds)), path)
    with pytest.raises(InputError) as caught:
        prepared(tmp_path, request_of(path))
    assert f"{path}, row 2: {reason}" in str(caught.value)
    skipped = examples_of(tmp_path, request_of(path, on_bad_row="skip"))
    assert skipped == [(("q", "a"), (1.0,)), (("q", "b"), (0.0,))]


def test_scores_that_are_not_one_for_each_text(tmp_path: Path) -> None:
    path = write_tuples(tmp_path / "tuples.parquet", scores=[[1.0, 2.0, 3.0], [1.0, 2.0], [1.0, 2.0, 3.0]])
    with pytest.raises(InputError, match="row 2: column 'scores' holds 2 scores, not one for each of 3 texts"):
        prepared(tmp_path, request_of(path, loss="margin-mse"))


def test_no_row_is_left(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", [{"one": "x", "two": "y", "label": 7}] * 3)
    with pytest.raises(InputError, match=r"none of 3 rows makes an example \(3 rows: column 'label' holds 7"):
        prepared(tmp_path, request_of(path, on_bad_row="skip"))
    write_lines(path, [{"one": "x", "two": "y", "label": 1}])
    assert prepared(tmp_path, request_of(path, on_bad_row="skip")).examples == 1
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no input holds any row"):
        request_of(tmp_path / "empty.jsonl")


COLUMNS = {
    "texts": {"a": ["x"], "b": ["y"]},
    "pairs": {"a": ["x"], "b": ["y"], "label": [1.0]},
    "three": {"a": ["x"], "b": ["y"], "c": ["z"], "label": [1.0]},
    "tuples": {"a": ["x"], "positive": ["y"], "negative": ["z"]},
    "headless": {"a": ["x"], "b": ["y"], "c": ["z"], "negative": ["z"]},
    "lists": {"a": ["x"], "docs": [["y"]], "labels": [[1.0]]},
}


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        (
            "texts",
            {},
            "need a column of labels, and there is neither 'label' nor 'score'; columns found: a (string), b",
        ),
        ("three", {}, "pairs have two columns of texts beside 'label'; columns found: a (string), b (string), c"),
        ("pairs", {"text_columns": ("a", "gold")}, "no column 'gold'; columns found: a (string)"),
        ("pairs", {"label_columns": ("gold",)}, "no column 'gold'"),
        ("pairs", {"label_columns": ("a",), "text_columns": ("b", "label")}, "column 'label' holds double, not"),
        (
            "pairs",
            {"format": "lists"},
            "lists are a column of texts, one of lists of texts, and one of lists of numbers",
        ),
        ("pairs", {"format": "tuples"}, "tuples are a query, a positive, and negatives called 'negative'"),
        ("headless", {}, "tuples are a query, a positive, and negatives called 'negative'"),
        ("tuples", {"loss": "margin-mse"}, "needs scores of each tuple's texts, and there is neither 'scores' nor"),
        ("tuples", {"loss": "mse"}, "needs scores of each tuple's texts"),
        (
            "lists",
            {"label_columns": ("docs",), "text_columns": ("a", "labels")},
            "column 'labels' holds list of numbers",
        ),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, name: str, flags: dict[str, Any], message: str) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(COLUMNS[name]), path)
    with pytest.raises(InputError) as caught:
        request_of(path, **flags)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "--" in caught.value.remedy or "column" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("pairs", {"loss": "cosine"}, "--loss cosine does not train a cross-encoder"),
        ("pairs", {"kind": "bi-encoder", "loss": "bce"}, "--loss bce does not train a bi-encoder"),
        ("pairs", {"loss": "hinge"}, "there is no --loss hinge"),
        ("pairs", {"format": "triples"}, "there is no --format triples"),
        ("pairs", {"loss": "margin-mse"}, "compares the texts of tuples, the data are pairs"),
        ("pairs", {"label_scale": 0.0}, "--label-scale 0 must be above 0"),
        ("pairs", {"label_scale": float("nan")}, "--label-scale nan must be above 0"),
        ("pairs", {"loss": "ce", "label_scale": 5.0}, "classes, which no --label-scale divides"),
        ("pairs", {"classes": 2}, "--loss bce has no classes"),
        ("pairs", {"text_columns": ("a",)}, "names 'a' alone"),
        ("pairs", {"text_columns": ("a", "a")}, "column 'a' is named for two uses"),
        ("pairs", {"label_columns": ("label", "b")}, "names 2 columns, pairs and lists have one"),
        ("pairs", {"negatives_per_positive": 4}, "these data have labels in 'label'"),
        ("pairs", {"negatives_per_positive": 0}, "must be 1 or more"),
        ("pairs", {"format": "pairs", "text_columns": ("a", "b", "c")}, "names 3 columns, pairs and lists have 2"),
        ("tuples", {"format": "tuples", "text_columns": ("a", "b")}, "three columns of texts or more"),
        ("tuples", {"loss": "ce"}, "--loss ce needs classes, and tuples have none"),
        ("tuples", {"label_scale": 5.0}, "those of tuples are 1 and 0"),
        ("tuples", {"loss": "mse", "label_columns": ("s", "t", "u")}, "names 3 columns for 2 documents"),
    ],
)
def test_flags_that_make_no_sense(tmp_path: Path, name: str, flags: dict[str, Any], message: str) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(COLUMNS[name]), path)
    with pytest.raises(ConfigError) as caught:
        request_of(path, **flags)
    assert message in str(caught.value) and caught.value.remedy


# --- evaluation, cuts, interruptions


def test_evaluation_data_are_read_by_the_same_flags(tmp_path: Path) -> None:
    path = write_tuples(tmp_path / "tuples.parquet")
    request = request_of(path, negatives_per_positive=6)
    assert len(examples_of(tmp_path, request)) == 7
    pairs = write_lines(tmp_path / "dev.jsonl", [{"one": "x", "two": "y", "label": 1}])
    dev = request.for_evaluation((str(pairs),))
    assert examples_of(tmp_path, dev, "dev") == [(("x", "y"), (1.0,))]
    assert len(examples_of(tmp_path, request.for_evaluation((str(path),)), "all")) == 8


def key_of(text: str) -> int:
    """Of a first text: the first 8 bytes of its digest."""
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


TEXT = st.text(alphabet="ab é", max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(TEXT, TEXT, st.integers(0, 8)), max_size=9), min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(0, 1000),
    st.sampled_from(["cross-encoder", "bi-encoder"]),
)
def test_any_cut_holds_the_same_examples(
    files: list[list[tuple[str, str, int]]], shard_rows: int, seed: int, kind: Kind
) -> None:
    expected = [((first, second), (label / 8,)) for rows in files for first, second, label in rows]
    if not expected:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, rows in enumerate(files):
            lines = [{"one": first, "two": second, "label": label} for first, second, label in rows]
            write_lines(folder / f"part-{number}.jsonl", lines)
        request = request_of(folder / "*.jsonl", kind=kind, shard_rows=shard_rows, label_scale=8.0)
        found = prepared(folder, request)
        examples = found.open()
        if kind == "cross-encoder":
            assert examples.keys().tolist() == [key_of(texts[0]) for texts, _ in expected]
            queries = [{texts[0] for texts, label in expected if (label == (1.0,)) == one} for one in (True, False)]
            assert examples.mixed() == len(queries[0] & queries[1])
            assert examples.mixed() or not found.mixed
        order = np.random.default_rng(seed).permutation(len(expected))
        assert texts_of(examples.take(order)) == [expected[row] for row in order.tolist()]


def run_of(folder: Path, evaluator: Any, *data: Path, **flags: Any) -> Any:
    """A training of which there is as much as settles what it is measured by."""
    request = request_of(*data, **flags)
    config = TrainCrossEncoderConfig(
        base_model="m", data=("d",), output="o", loss=request.flags.loss, evaluator=evaluator
    )
    held_out = prepared(folder, request, data[0].stem)
    return _Run(config, None, SimpleNamespace(evaluation=request), held_out, held_out, None, "float32", None)


def test_what_a_training_is_measured_by(tmp_path: Path) -> None:
    lists = write_lines(tmp_path / "lists.jsonl", [{"query": "q", "docs": ["a", "b"], "labels": [1, 0]}])
    alike = write_lines(tmp_path / "alike.jsonl", [{"query": "q", "docs": ["a", "b"], "labels": [0, 0]}])
    pairs = write_lines(tmp_path / "pairs.jsonl", [{"one": "q", "two": x, "label": x == "a"} for x in "ab"])
    tuples = write_tuples(tmp_path / "tuples.parquet")
    found = [run_of(tmp_path, "auto", data).settings.best_by for data in (lists, alike, pairs, tuples)]
    assert found == ["ndcg@10", "average_precision", "average_precision", "ndcg@10"]


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_nothing_to_rank(tmp_path: Path, loss: str) -> None:
    """It shows before the training, also where the documents of a query lie in several parts."""
    rows = [{"one": "q", "two": "a", "label": 1}, {"one": "r", "two": "a", "label": 0}]
    apart = write_lines(tmp_path / "apart.jsonl", rows)
    with pytest.raises(InputError, match=r"no query of --eval-data has both a relevant document \(label 1\)"):
        run_of(tmp_path, "reranking", apart, loss=loss, shard_rows=1).check()
    run_of(tmp_path, "binary-classification", apart, loss=loss, shard_rows=1).check()
    over_two_parts = write_lines(tmp_path / "over_two_parts.jsonl", [*rows, {"one": "r", "two": "b", "label": 1}])
    run = run_of(tmp_path, "reranking", over_two_parts, loss=loss, shard_rows=1)
    run.check()
    assert run.held_out.mixed == 0 and run.settings.best_by == "ndcg@10"


class InterruptedRunError(Exception):
    """A driver that dies."""


def parts_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "data").iterdir()}


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_interrupted_work_goes_on(tmp_path: Path, kind: Kind) -> None:
    rows = [{"one": f"x {row}", "two": f"y {row % 7}", "label": row % 2} for row in range(50)]
    path = write_lines(tmp_path / "pairs.jsonl", rows)
    request = request_of(path, kind=kind, shard_rows=8)
    whole = prepared(tmp_path, request, "whole")
    made: list[str] = []
    part = ExampleMaker.part

    def die_after_three(maker: ExampleMaker, shard: Any, name: str) -> Any:
        made.append(name)
        if len(made) == 4:
            raise InterruptedRunError
        return part(maker, shard, name)

    with mock.patch.object(ExampleMaker, "part", die_after_three):
        with pytest.raises(InterruptedRunError):
            prepared(tmp_path, request)
        found = prepared(tmp_path, request)
    assert len(made) == 4 + 4  # of seven parts, three were there
    assert parts_of(tmp_path / "examples") == parts_of(tmp_path / "whole")
    assert replace(found, folder="", urls=()) == replace(whole, folder="", urls=())
    with mock.patch.object(ExampleMaker, "part", die_after_three):
        assert prepared(tmp_path, request) == found
    with pytest.raises(OutputError, match=r"label_scale: 1\.0 before, 2\.0 now"):
        prepared(tmp_path, request_of(path, kind=kind, shard_rows=8, label_scale=2.0))


def test_other_data_of_the_same_name(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", [{"one": "x", "two": "y", "label": 1}])
    prepared(tmp_path, request_of(path))
    write_lines(path, [{"one": "x", "two": "z", "label": 1}])
    with pytest.raises(OutputError, match=r"input: '.*' before, '.*' now"):
        prepared(tmp_path, request_of(path))


# --- tokenizers of model folders


@pytest.mark.parametrize("kind", ["classifier", "encoder", "sentence-transformers"])
def test_tokenizers_of_bases_of_cross_encoders(tmp_path: Path, kind: str) -> None:
    """Whatever training starts from, a pair has the tokens that the transformers library gives it."""
    save = {"classifier": save_tiny_classifier, "encoder": save_tiny_backbone, "sentence-transformers": save_tiny_model}
    (tmp_path / "model").mkdir()
    model = save[kind](tmp_path / "model")
    rows = [{"one": "the cat sat", "two": "a dog ran, hello world!", "label": 1}, {"one": "a", "two": "", "label": 0}]
    path = write_lines(tmp_path / "pairs.jsonl", rows)
    maker = ExampleMaker.of("cross-encoder", str(model), prompt="query: ", max_length=14)
    request = example_request(ExampleFlags(data=(str(path),), loss="bce"), maker)
    block = prepared(tmp_path, request).open().take(np.arange(2))
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    firsts, seconds = (["query: " + row["one"] for row in rows], [row["two"] for row in rows])
    expected = tokenizer(firsts, seconds, truncation="longest_first", max_length=14, padding=True, return_tensors="np")
    ids, types = block.tokens.padded(np.arange(2), int(block.lengths.max()), tokenizer.pad_token_id)
    np.testing.assert_array_equal(ids, expected["input_ids"])
    np.testing.assert_array_equal(types, expected["token_type_ids"])
    assert request.lineage("")["max_length"] == 14


def test_tokenizers_of_bases_of_bi_encoders(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", max_seq_length=12)
    path = write_lines(tmp_path / "pairs.jsonl", [{"one": "the cat " * 9, "two": "hello", "score": 0.5}])
    maker = ExampleMaker.of("bi-encoder", str(model))
    request = example_request(ExampleFlags(data=(str(path),), loss="cosine"), maker)
    block = prepared(tmp_path, request).open().take(np.array([0]))
    from st_ray.models.tokenizer import TextTokenizer

    expected = TextTokenizer(read_model_folder(model)).tokenize(["the cat " * 9, "hello"])
    np.testing.assert_array_equal(block.tokens.lengths, expected.lengths)
    np.testing.assert_array_equal(block.tokens.padded(np.arange(2), 12, 0)[0], expected.padded(np.arange(2), 12, 0)[0])


def test_a_mistake_in_the_model_shows_before_any_task(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", [{"one": "x", "two": "y", "score": 0.5}])
    flags = ExampleFlags(data=(str(path),), loss="bce")
    model = save_tiny_classifier(tmp_path / "model")
    tight = example_request(flags, ExampleMaker.of("cross-encoder", str(model), max_length=3))
    with pytest.raises(StRayError, match="leaves no room beside the 3 special tokens"):
        prepared(tmp_path, tight)
    with pytest.raises(StRayError, match="there is no model folder"):
        ExampleMaker.of("cross-encoder", str(tmp_path / "absent"))
    assert prepared(tmp_path, example_request(flags, ExampleMaker.of("cross-encoder", str(model)))).examples == 1
