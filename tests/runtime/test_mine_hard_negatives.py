"""The job that mines hard negatives, without Ray: what the function in memory finds, in any cuts and interruptions."""

from __future__ import annotations

import functools
import itertools
import json
import operator
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, load_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from st_ray import mine_hard_negatives as in_memory
from st_ray.core.errors import InputError, OutputError
from st_ray.mining.negative_statistics import Statistics
from st_ray.runtime.config import Names
from st_ray.runtime.mining.negatives import chain, steps
from st_ray.runtime.mining.negatives.config import MineHardNegativesConfig
from st_ray.runtime.mining.negatives.distribution import Pass, lower_counts
from st_ray.runtime.mining.negatives.inputs import text_request
from st_ray.runtime.mining.negatives.job import mine_hard_negatives
from st_ray.runtime.mining.negatives.summary import negatives_summary
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.resources import task_count
from st_ray.runtime.result import JobResult
from st_ray.runtime.texts_by_id import staged
from tests.inline_negatives import Models, Sizes, commits, inline_mining
from tests.mining.test_negatives import TEXTS, IntegerModel, eighths
from tests.stubs import StubLoader, StubScorerLoader

Pairs = list[tuple[str, str]]
MODELS = ("/corpus", "/queries", "/hits", "/scores")
"""Folders of steps that stand for jobs which go on by themselves."""


class Eighths:
    """A cross-encoder."""

    def predict(self, pairs: Sequence[tuple[str, str]], **_: Any) -> np.ndarray:
        return np.float32([eighths(*pair) for pair in pairs])


def integer_models(seed: int = 0) -> Models:
    """Those that `in_memory` is given."""
    model = IntegerModel(seed)

    def embed(texts: list[str], side: str) -> np.ndarray:
        return model.encode(texts, "d" if side == "corpus" else "q").numpy().reshape(len(texts), 2)

    return Models(embed, eighths)


def write_inputs(folder: Path, pairs: Pairs, corpus: Sequence[str] | None) -> dict[str, Any]:
    """Two files of pairs, and one of the corpus."""
    flags: dict[str, Any] = {}
    half = len(pairs) // 2
    for name, rows in (("one", pairs[:half]), ("two", pairs[half:])):
        lines = [json.dumps({"anchor": anchor, "positive": positive}) + "\n" for anchor, positive in rows]
        (folder / f"pairs-{name}.jsonl").write_text("".join(lines))
    flags["pairs"] = (str(folder / "pairs-*.jsonl"),)
    if corpus is not None:
        (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in corpus))
        flags["corpus"] = (str(folder / "corpus.jsonl"),)
    return flags


def mined(
    folder: Path, flags: dict[str, Any], output: str = "out", rescored: bool = False, **changes: Any
) -> JobResult:
    config = MineHardNegativesConfig(**{"model": "plain", "output": str(folder / output), **flags, **changes})
    return mine_hard_negatives(config, StubLoader(), StubScorerLoader() if rescored else None)


def rows_of(result: JobResult) -> list[dict[str, Any]]:
    parts = [pq.read_table(f"{result.folder}/data/{entry.name}") for entry in result.manifest.entries]
    return pa.concat_tables(parts).to_pylist()


texts = st.sampled_from(TEXTS)
options = st.fixed_dictionaries(
    {
        "range_min": st.integers(0, 2),
        "num_negatives": st.integers(1, 3),
        "sampling_strategy": st.sampled_from(["top", "random"]),
        "output_format": st.sampled_from(["triplet", "n-tuple", "labeled-pair", "labeled-list"]),
        "output_scores": st.booleans(),
        "seed": st.integers(0, 2),
    },
    optional={
        "range_max": st.integers(5, 12),
        "max_score": st.sampled_from([-0.25, 0.25, 2.0]),
        "min_score": st.sampled_from([-1.0, 0.0]),
        "absolute_margin": st.sampled_from([0.0, 0.25, 1.0]),
        "relative_margin": st.sampled_from([0.0, 0.5]),
    },
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=14),
    corpus=st.none() | st.lists(texts | st.just(" "), min_size=1, max_size=12),
    options=options,
    rescored=st.booleans(),
    include_positives=st.booleans(),
    shard_rows=st.integers(1, 9),
    sizes=st.builds(Sizes, st.integers(1, 20), st.integers(1, 5), st.integers(1, 4)),
    seed=st.integers(0, 3),
)
def test_what_is_found_in_memory_in_any_cut(
    pairs: Pairs,
    corpus: list[str] | None,
    options: dict[str, Any],
    rescored: bool,
    include_positives: bool,
    shard_rows: int,
    sizes: Sizes,
    seed: int,
) -> None:
    if include_positives:
        options = {**options, "include_positives": True, "output_format": "n-tuple"}
    dataset = Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [p for _, p in pairs]})
    cross_encoder = {"cross_encoder": Eighths()} if rescored else {}
    expected = in_memory(dataset, IntegerModel(seed), corpus=corpus, verbose=False, **cross_encoder, **options)
    with tempfile.TemporaryDirectory() as folder, inline_mining(integer_models(seed), sizes, pages=False):
        flags = write_inputs(Path(folder), pairs, corpus)
        result = mined(Path(folder), flags, rescored=rescored, shard_rows=shard_rows, **options)
        assert rows_of(result) == expected.to_list()
        assert result.manifest.about["report"]["missing"] >= 0


def test_machines_may_still_come(tmp_path: Path) -> None:
    """All steps that have the cluster to themselves grow with it, as far as the flag says."""
    flags = write_inputs(tmp_path, list(itertools.pairwise(TEXTS)), None)
    with (
        inline_mining(integer_models(), pages=False),
        patch.object(steps, "task_count", wraps=task_count) as own,
        patch.object(staged, "task_count", wraps=task_count) as copied,
    ):
        mined(tmp_path, flags, rescored=True, actors="1:16")
    assert (own.call_count, copied.call_count) == (5, 1)
    assert {call.args[2] for call in (*own.call_args_list, *copied.call_args_list)} == {"1:16"}


PAIRS: Pairs = [("a", "b"), ("a", "c"), ("d", "e"), ("f", "g"), ("d", "e"), ("h", "a"), ("b", "b")]
CORPUS = ["b", "j", "i", "b", "a", "g", " "]
FLAGS = {"num_negatives": 2, "shard_rows": 2, "range_max": 4}


def in_memory_rows(
    pairs: Pairs = PAIRS, corpus: list[str] | None = CORPUS, rescored: bool = False, **options: Any
) -> list[dict[str, Any]]:
    dataset = Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [p for _, p in pairs]})
    settings = {"num_negatives": 2, "range_max": 4, "verbose": False, **options}
    cross_encoder = Eighths() if rescored else None
    return in_memory(dataset, IntegerModel(0), corpus=corpus, cross_encoder=cross_encoder, **settings).to_list()


def test_other_thresholds_do_nothing_again(tmp_path: Path) -> None:
    models = integer_models()
    with inline_mining(models):
        flags = write_inputs(tmp_path, PAIRS, CORPUS) | FLAGS | {"work": str(tmp_path / "work")}
        first = mined(tmp_path, flags, "one", rescored=True)
        assert rows_of(first) == in_memory_rows(rescored=True)
        assert models.done == ["corpus", "queries", "hits", "scores"]
        scored = list(models.scored)
        other = {"max_score": 0.25, "output_format": "labeled-pair", "sampling_strategy": "random", "range_max": 3}
        second = mined(tmp_path, flags, "two", rescored=True, **other)
        assert rows_of(second) == in_memory_rows(rescored=True, **other)
        assert second.manifest.run["steps_done"] == []
        assert (models.done[4:], models.scored) == ([], scored)
        again = mined(tmp_path, flags, "two", rescored=True, **other)
        assert again.already_complete and "complete already" in negatives_summary(again)
        without = mined(tmp_path, flags, "three", **other)
        assert rows_of(without) == in_memory_rows(**other)
        assert models.done[4:] == []


def test_a_deeper_look_scores_only_what_is_new(tmp_path: Path) -> None:
    models = integer_models()
    with inline_mining(models, Sizes(queries_of_a_shard=3)):
        flags = write_inputs(tmp_path, PAIRS, CORPUS) | FLAGS | {"work": str(tmp_path / "work"), "range_max": 2}
        for number, depth in enumerate((2, 4, 3, 6)):
            with patch.object(chain, "_QUERIES_OF_A_SHARD", 1 + number):
                result = mined(tmp_path, flags, str(depth), rescored=True, range_max=depth)
            assert rows_of(result) == in_memory_rows(rescored=True, range_max=depth)
    # All candidates of a depth of 3 are among those of 4, and those of 6, which are all documents, nearly.
    assert models.done == ["corpus", "queries", "hits", "scores", "hits", "scores", "hits"]
    assert len(models.scored) == len(set(models.scored))


def test_it_goes_on_wherever_it_was_cut_short(tmp_path: Path) -> None:
    expected = in_memory_rows(rescored=True)
    for most in itertools.count(step=2):
        folder = tmp_path / str(most)
        folder.mkdir()
        flags = write_inputs(folder, PAIRS, CORPUS) | FLAGS
        with inline_mining(integer_models(), pages=False):
            with commits(most) as before, suppress(KeyboardInterrupt):
                mined(folder, flags, rescored=True)
            with commits() as after:
                result = mined(folder, flags, rescored=True)
        assert rows_of(result) == expected
        assert not {part for part in before if not part[0].endswith(MODELS)} & set(after)
        if not after:
            assert result.already_complete and most > 20
            return


def test_nothing_left_is_a_finished_output_that_says_why(tmp_path: Path) -> None:
    for output_format in ("triplet", "n-tuple", "labeled-pair", "labeled-list"):
        with inline_mining(integer_models()):
            flags = write_inputs(tmp_path, PAIRS, CORPUS) | FLAGS | {"work": str(tmp_path / "work")}
            changes = {"output_format": output_format, "min_score": 99.0, "output_scores": True}
            result = mined(tmp_path, flags, output_format, **changes)
        dataset = Dataset.from_dict({"anchor": [a for a, _ in PAIRS], "positive": [p for _, p in PAIRS]})
        expected = in_memory(
            dataset, IntegerModel(0), corpus=CORPUS, num_negatives=2, range_max=4, verbose=False, **changes
        )
        assert rows_of(result) == expected.to_list()
        schema = pq.read_schema(f"{result.folder}/data/{result.manifest.entries[0].name}")
        assert Features.from_arrow_schema(schema) == expected.features
        about = result.manifest.about
        assert about["without"] == about["queries"] == 5
        skipped = f"Skipped {about['candidates']} potential negatives (100.00%) due to the min_score"
        assert skipped in negatives_summary(result)
        page = Path(result.folder, PAGE).read_text()
        assert "min_score" in page and "100.00%" in page


@pytest.mark.parametrize("output_format", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
def test_datasets_opens_it(tmp_path: Path, output_format: str) -> None:
    changes = {"output_format": output_format, "max_score": -1.0, "output_scores": True}
    with inline_mining(integer_models()):
        flags = write_inputs(tmp_path, PAIRS, CORPUS) | FLAGS
        result = mined(tmp_path, flags, **changes)
    parts = [entry.rows for entry in result.manifest.entries]
    assert min(parts) == 0 or output_format == "labeled-pair"
    files = f"{result.folder}/data/*.parquet"
    found = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert found.to_list() == in_memory_rows(**changes)


def test_the_report_shows_scores_filters_and_rows(tmp_path: Path) -> None:
    with inline_mining(integer_models()):
        flags = write_inputs(tmp_path, PAIRS, CORPUS) | FLAGS
        result = mined(tmp_path, flags, max_score=1.0, output_format="labeled-list", output_scores=True)
    page = Path(result.folder, PAGE).read_text()
    assert page.count("<figure>") == 1 and "<h2>Run it again</h2>" in page
    row = rows_of(result)[0]
    assert f"<td>{' | '.join(row['positive'])}</td>" in page
    assert "max_score" in page and "6, and 7 documents" in page
    about = result.manifest.about["texts"]
    counts = {"anchors": 5, "pairs": 7, "distinct_pairs": 6, "documents": 7, "added": 2, "empty_documents": 1}
    assert {name: about[name] for name in counts} == counts


def test_pairs_that_cannot_be_used(tmp_path: Path) -> None:
    lines = [{"q": "a", "p": "b"}, {"q": "a", "p": " "}, {"q": "c", "p": None}, {"q": "d", "p": "e"}]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    flags = {"pairs": (str(file),), "num_negatives": 1}
    with inline_mining(integer_models()):
        with pytest.raises(InputError, match=r"pairs.jsonl, row 3: column 'p' is null"):
            mined(tmp_path, flags)
        lines[2]["p"] = "e"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(InputError, match=r"pairs.jsonl, row 2: an empty anchor or positive \(1 such"):
            mined(tmp_path, flags)
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
        lines[2]["p"] = None
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        result = mined(tmp_path, flags, on_bad_row="skip")
        assert rows_of(result) == [
            {"q": "a", "p": "b", "negative": "e"},
            {"q": "d", "p": "e", "negative": "b"},
        ]
        about = result.manifest.about["texts"]
        assert (about["bad_pairs"], about["empty_pairs"]) == (1, 1)
        assert "1 rows of pairs that cannot be used, 1 pairs with an empty text" in negatives_summary(result)
        with pytest.raises(InputError, match="no column 'r'") as raised:
            mined(tmp_path, flags, "other", positive_column="r")
        assert "--positive-column" in raised.value.remedy
        with pytest.raises(InputError, match="two columns of texts are needed"):
            file.write_text('{"q": "a"}\n')
            mined(tmp_path, flags, "other")
        file.write_text('{"q": "", "p": "b"}\n')
        with pytest.raises(InputError, match="no pair has both texts"):
            mined(tmp_path, flags, "other", on_bad_row="skip")
        assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    ("columns", "flags", "expected"),
    [
        (["x", "positive", "anchor"], {}, ("anchor", "positive")),
        (["x", "y", "z"], {}, ("x", "y")),
        (["positive", "x"], {}, ("x", "positive")),
        (["x", "anchor"], {}, ("anchor", "x")),
        (["x", "y", "z"], {"positive_column": "x"}, ("y", "x")),
        (["positive", "x", "anchor"], {"anchor_column": "positive"}, ("positive", "x")),
        (["x", "y", "z"], {"anchor_column": "y", "positive_column": "z"}, ("y", "z")),
    ],
)
def test_columns_that_are_not_named(
    tmp_path: Path, columns: list[str], flags: dict[str, str], expected: tuple[str, str]
) -> None:
    (tmp_path / "pairs.csv").write_text(f"{','.join(columns)}\n{','.join(columns)}\n")
    config = MineHardNegativesConfig(pairs=(str(tmp_path / "pairs.csv"),), model="m", output="o", **flags)
    request = text_request(config, str(tmp_path))
    assert (request.anchor, request.positive) == expected


def test_other_texts_are_refused(tmp_path: Path) -> None:
    with inline_mining(integer_models()):
        work = {"work": str(tmp_path / "work")}
        flags = write_inputs(tmp_path, PAIRS, CORPUS) | FLAGS | work
        mined(tmp_path, flags)
        (tmp_path / "other.jsonl").write_text('{"title": "j", "text": "i"}\n')
        with pytest.raises(OutputError, match=r"work/texts was begun with other settings:\n +corpus: ") as raised:
            mined(
                tmp_path, flags, "new", corpus=(str(tmp_path / "other.jsonl"),), corpus_text_columns=Names(("title",))
            )
        assert f"remove {tmp_path}/work/texts" in raised.value.remedy
        with pytest.raises(OutputError, match=r"out was begun with other settings:\n +max_score: None before, 1.0 now"):
            mined(tmp_path, flags, max_score=1.0)
        overwritten = mined(tmp_path, flags, max_score=1.0, overwrite=True)
        assert overwritten.manifest.run["steps_done"] == []
        assert rows_of(overwritten) == in_memory_rows(max_score=1.0)
        # Files that were only touched are the same; with other texts, --work needs another place.
        write_inputs(tmp_path, PAIRS, CORPUS)
        assert mined(tmp_path, flags, max_score=1.0).already_complete
        write_inputs(tmp_path, PAIRS[:-1], CORPUS)
        with pytest.raises(OutputError, match="pairs: '"):
            mined(tmp_path, flags, max_score=1.0)
        with pytest.raises(OutputError, match=r"what .*out was begun with has changed"):
            mined(tmp_path, {**flags, "work": str(tmp_path / "more")}, max_score=1.0)


scores = st.floats(-3, 3, width=32) | st.sampled_from([0.0, -0.0, 1.0])


def test_a_result_needs_no_work_any_more(tmp_path: Path) -> None:
    models = integer_models()
    with inline_mining(models, pages=False):
        flags = write_inputs(tmp_path, PAIRS, CORPUS) | FLAGS
        mined(tmp_path, flags)
        shutil.rmtree(tmp_path / "out" / "work")
        assert mined(tmp_path, flags).already_complete
        assert models.done == ["corpus", "queries", "hits"]
        write_inputs(tmp_path, PAIRS[:-1], CORPUS)
        with pytest.raises(OutputError, match=r"what .*out was begun with has changed"):
            mined(tmp_path, flags)


@settings(deadline=None)
@given(st.lists(st.lists(scores, max_size=9), min_size=1, max_size=4))
def test_statistics_by_counting(parts: list[list[float]]) -> None:
    arrays = [np.array(part, np.float32) for part in parts]
    total = functools.reduce(operator.add, map(Pass.of, arrays))
    halves = total.halves() if total.count else np.empty(0, np.int64)
    lower = np.zeros((len(halves), 1 << 16), np.int64)
    for array in arrays:
        lower += lower_counts(array, halves)
    found, expected = total.statistics(halves, lower), Statistics.of(np.concatenate(arrays))
    for one, other in zip(astuple(found), astuple(expected), strict=True):
        assert one == pytest.approx(other, rel=1e-12, abs=1e-12, nan_ok=True)
    exact = ("count", "least", "quarter", "half", "three_quarters", "greatest")
    assert [repr(getattr(found, name) + 0) for name in exact] == [repr(getattr(expected, name) + 0) for name in exact]
