"""The bitext job without Ray: in any shards, cuts and interruptions it finds what the function in memory finds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from st_ray import mine_bitext as in_memory
from st_ray.core.errors import InputError
from st_ray.mining.bitext import MARGINS, RETRIEVALS, BitextPairs
from st_ray.runtime.mining import check
from st_ray.runtime.mining.bitext import job, staging
from st_ray.runtime.mining.bitext.config import MineBitextConfig
from st_ray.runtime.mining.bitext.report import outline_of
from st_ray.runtime.mining.bitext.summary import bitext_summary
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.resources import Node, plan_actors
from st_ray.runtime.result import JobResult
from st_ray.runtime.search.pool import Holder, Share
from st_ray.scoring.topk import merged
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.embeddings import part_bytes
from st_ray.store.output import Part, Writer
from st_ray.store.pairs import open_pairs, read_pairs
from tests.inline_ray import inline_ray
from tests.mining.test_bitext import by_definition
from tests.stores import vectors, write_store


class InlinePool:
    """The actors' holders in this process."""

    def __init__(self, shares: Sequence[Share], *_: Any) -> None:
        self.holders = [Holder(share) for share in shares]

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return merged([holder.search(queries, k) for holder in self.holders], k)

    def stop(self) -> None:
        self.holders.clear()


@contextmanager
def inline(actors: int = 1, pages: bool = True) -> Iterator[mock.Mock]:
    """The job in this process; yields what starts the pools."""
    plan = plan_actors([Node(8, 0)], shards=actors, actors=str(actors), cpus_per_actor=1.0)
    start = mock.Mock(side_effect=InlinePool)
    replaced = {
        "start_pool": start,
        "plan_search": lambda *_: plan,
        **({} if pages else {"bitext_page": lambda *_: b""}),
    }
    with ExitStack() as stack:
        stack.enter_context(inline_ray(job.__name__))
        stack.enter_context(mock.patch("st_ray.runtime.search.target._LEAST_ROWS", 1))
        for name, value in replaced.items():
            stack.enter_context(mock.patch.object(job, name, value))
        yield start


@contextmanager
def interrupted_after(commits: int) -> Iterator[None]:
    """The driver dies before one more part is published."""
    left = iter(range(commits))
    commit = Writer.commit

    def until(self: Writer, name: str, part: Part) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return commit(self, name, part)

    with mock.patch.object(Writer, "commit", until):
        yield


def mined(folder: Path | str, **changes: Any) -> JobResult:
    places = {name: f"{folder}/{name}" for name in ("source", "target")}
    settings = {**places, "output": f"{folder}/out", "keep_gib": 1.0}
    return job.mine_bitext(MineBitextConfig(**{**settings, **changes}))


def table_of(result: JobResult) -> pa.Table:
    manifest = open_pairs(result.folder)
    assert manifest == result.manifest
    return pa.concat_tables([read_pairs(result.folder, entry) for entry in manifest.entries])


def found(result: JobResult) -> list[list[float | int]]:
    """As the function in memory returns it."""
    table = table_of(result)
    one, other = ([int(name[1:]) for name in table[column].to_pylist()] for column in ("id_1", "id_2"))
    return [list(pair) for pair in zip(table["score"].to_pylist(), one, other, strict=True)]


def floats(folder: str) -> np.ndarray:
    store = StoredVectors.open(folder)
    return store.floats(store.take(np.arange(store.rows)))


@st.composite
def sides(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers, so that ties abound; no row is all zeros."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dimension, most = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    least = draw(st.sampled_from([-1, 0]))
    both = []
    for rows in draw(st.tuples(st.integers(1, 14), st.integers(1, 14))):
        side = random.integers(least * most, most + 1, (rows, dimension)).astype(np.float32)
        side[~side.any(axis=1)] = 1
        both.append(side)
    return both[0], both[1]


@settings(deadline=None, max_examples=25)
@given(
    embeddings=sides(),
    parts=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    group_rows=st.sampled_from([1, 3, 8192]),
    precision=st.sampled_from(["float32", "float16", "int8"]),
    shard_rows=st.sampled_from([1, 2, 5, 100]),
    actors=st.integers(1, 3),
    k=st.integers(1, 16),
    margin=st.sampled_from(MARGINS),
    retrieval=st.sampled_from(RETRIEVALS),
    threshold=st.sampled_from([None, -0.5, 0.5, 1.0, 1.25]),
    keep_gib=st.sampled_from([0.0, 1e-7, 1.0]),
    commits=st.integers(0, 12),
)
def test_any_cut_and_any_interruption_give_what_is_found_in_memory(
    embeddings: tuple[np.ndarray, np.ndarray],
    parts: tuple[int, int],
    group_rows: int,
    precision: str,
    shard_rows: int,
    actors: int,
    k: int,
    margin: Any,
    retrieval: Any,
    threshold: float | None,
    keep_gib: float,
    commits: int,
) -> None:
    flags = {"neighbors": k, "margin": margin, "retrieval": retrieval, "threshold": threshold}
    how = {**flags, "shard_rows": shard_rows, "keep_gib": keep_gib}
    with tempfile.TemporaryDirectory() as folder, inline(actors, pages=False) as start:
        with (
            mock.patch("st_ray.store.embeddings.ROW_GROUP_ROWS", group_rows),
            mock.patch.object(check, "_ROWS", 3),
        ):
            for name, side, count in zip(("source", "target"), embeddings, parts, strict=True):
                write_store(
                    f"{folder}/{name}", side, parts=count, precision=precision if name == "target" else "float32"
                )
            target = floats(f"{folder}/target")
            assume(target.any(axis=1).all())  # int8 may have rounded a row to zeros
            result = mined(folder, **how)
            assert start.call_count == 2
            try:
                with interrupted_after(commits):
                    cut = mined(folder, output=f"{folder}/cut", **how)
            except KeyboardInterrupt:
                cut = mined(folder, output=f"{folder}/cut", **how)
        expected = in_memory(embeddings[0], target, **flags)
        assert found(result) == found(cut) == expected
        assert cut.manifest.entries == result.manifest.entries
        rows = [entry.rows for entry in result.manifest.entries]
        assert rows == [min(shard_rows, len(expected) - first) for first in range(0, max(len(expected), 1), shard_rows)]
        if precision != "int8":
            assert expected == by_definition(embeddings[0].tolist(), target.tolist(), k, margin, retrieval, threshold)


def test_what_is_told_adds_up(tmp_path: Path) -> None:
    source, target = (vectors(60, 8, seed) for seed in (0, 1))
    write_with_texts(tmp_path / "source", source)
    write_store(tmp_path / "target", target, prefix="t")
    with inline() as start:
        everything = mined(tmp_path, shard_rows=7)
        pairs = in_memory(source, target)
        margins = [pair[0] for pair in pairs]
        threshold = margins[10]
        strict = mined(tmp_path, shard_rows=7, threshold=threshold, output=f"{tmp_path}/strict")
        assert mined(tmp_path, shard_rows=7).already_complete
        assert start.call_count == 4
    about = strict.manifest.about
    mutual = len(in_memory(source, target, retrieval="intersection"))
    assert (about["source_rows"], about["target_rows"], about["candidates_mutual"]) == (60, 60, mutual)
    assert (about["candidates_forward"], about["candidates_backward"]) == (60, 60)
    assert (about["pairs"], strict.manifest.rows, about["below_threshold"]) == (11, 11, len(pairs) - 11)
    quantiles = everything.manifest.about["margin_quantiles"]
    assert (quantiles["0"], quantiles["1"]) == (margins[-1], margins[0])
    assert sum(margin >= quantiles["0.25"] for margin in margins) == round(0.75 * (len(margins) - 1)) + 1
    shown = bitext_summary(strict)
    for text in (
        f"60 rows of {tmp_path}/target",
        f"60 by source, 60 by target, {mutual} of them the same",
        "11 in 2 shards, best first, retrieval max",
        f"{threshold:g} left out {len(pairs) - 11} pairs",
        f"{threshold:.4f} to {margins[0]:.4f}",
        "ratio: cosines, divided by the mean of those of 4 neighbours each",
    ):
        assert text in shown
    page = (tmp_path / "strict" / PAGE).read_text()
    best = pairs[0]
    assert f"<td>d{best[1]}: text of d{best[1]}</td><td>t{best[2]}</td>" in page
    assert page.count("<figure>") == 1 and "<h2>Run it again</h2>" in page
    headings = ["Margins", "Thresholds", "The best pairs", "The last pairs that are kept"]
    for heading in [*headings, "The first pairs below the threshold"]:
        assert f"<h2>{heading}</h2>" in page
    assert "below the threshold" not in (tmp_path / "out" / PAGE).read_text()
    with inline():
        nothing = mined(tmp_path, threshold=99.0, output=f"{tmp_path}/nothing")
    assert (found(nothing), nothing.manifest.about["below_threshold"]) == ([], len(pairs))
    assert "99 left out" in bitext_summary(nothing)
    page = (tmp_path / "nothing" / PAGE).read_text()
    assert [heading in page for heading in (">Margins<", ">Thresholds<", "first pairs below")] == [True, False, True]


def test_the_outline_is_of_all_pairs_and_small(tmp_path: Path) -> None:
    """Whatever the batches: counts add up, and every tenth kept pair or so is shown beside its own margin."""
    store = StoredVectors.open(write_store(tmp_path / "store", vectors(500)))
    random = np.random.default_rng(0)
    margins = np.sort(random.standard_normal(400).astype(np.float32))[::-1].copy()
    margins[0] = np.inf
    pairs = BitextPairs(margins, random.permutation(400), random.permutation(400))
    for batch_rows in (3, 400, 1000):
        url = str(tmp_path / f"{batch_rows}.arrow")
        Path(url).write_bytes(staging.pairs_bytes(pairs, batch_rows))
        (outline,) = outline_of(store, store, url, batch_rows, 300)
        assert (outline.kept.sum(), outline.dropped.sum()) == (300, 100)
        assert all(np.flatnonzero(outline.dropped)[-1] <= bin for bin in np.flatnonzero(outline.kept))
        assert outline.quantiles[0.0] == margins[299]
        assert np.isfinite(outline.quantiles[1.0])
        by_source = {f"d{row}": rank for rank, row in enumerate(pairs.source.tolist())}
        ranks = {name: [by_source[row[1]] for row in rows] for name, rows in outline.examples.items()}
        steps = np.linspace(0, 299, 21).astype(int).tolist()
        assert list(ranks.values()) == [[*range(10)], steps, [*range(290, 300)], [*range(300, 310)]]
        for rows in outline.examples.values():
            for shown, source, target in rows:
                rank = by_source[source]
                assert (shown, target) == (f"{margins[rank]:.4f}", f"d{pairs.target[rank]}")


def write_with_texts(folder: Path, embeddings: np.ndarray, **options: Any) -> str:
    def with_texts(meta: pa.Table, rows: np.ndarray) -> bytes:
        texts = pa.array([f"text of {name}" for name in meta["id"].to_pylist()], pa.string())
        return part_bytes(meta.append_column("text", texts), rows)

    with mock.patch("tests.stores.part_bytes", with_texts):
        return write_store(folder, embeddings, keep_text=True, **options)


def test_texts_are_written_beside_the_ids(tmp_path: Path) -> None:
    for seed, name in enumerate(("source", "target")):
        write_with_texts(tmp_path / name, vectors(20, seed=seed), prefix=name[0])
    with inline():
        table = table_of(mined(tmp_path, keep_text=True, shard_rows=3))
    assert table.column_names == ["id_1", "id_2", "score", "text_1", "text_2"]
    assert table["text_1"].to_pylist() == [f"text of {name}" for name in table["id_1"].to_pylist()]
    assert table["text_2"].to_pylist() == [f"text of {name}" for name in table["id_2"].to_pylist()]
    assert {name[0] for name in table["id_2"].to_pylist()} == {"t"}


@pytest.mark.parametrize("precision", ["float16", "int8", "uint8"])
def test_every_text_finds_itself_in_another_encoding(tmp_path: Path, precision: str) -> None:
    random = np.random.default_rng(0)
    source = (random.standard_normal((300, 32)) + random.standard_normal(32)).astype(np.float32)
    order = random.permutation(300)
    write_store(tmp_path / "source", source)
    write_store(tmp_path / "target", source[order], precision=precision, prefix="t")
    with inline(actors=2):
        pairs = found(mined(tmp_path, shard_rows=64, retrieval="intersection"))
    assert len(pairs) == 300
    assert all(order[target] == one for _, one, target in pairs)


def test_noise_stays_below_a_threshold_that_keeps_translations(tmp_path: Path) -> None:
    """300 translations, each side with 200 texts that have much in common with all others and translate nothing."""
    random = np.random.default_rng(0)
    common = random.standard_normal(48)
    texts = random.standard_normal((300, 48))
    for name in ("source", "target"):
        encoded = np.concatenate([texts + 0.4 * random.standard_normal(texts.shape), random.standard_normal((200, 48))])
        write_store(tmp_path / name, (encoded + common).astype(np.float32))
    with inline():
        pairs = found(mined(tmp_path))
    true = [margin for margin, one, other in pairs if one == other < 300]
    assert len(true) == 300
    least = sorted(true)[15]
    assert sum(margin >= least and one != other for margin, one, other in pairs) <= 2
    with inline():
        kept = found(mined(tmp_path, threshold=least, output=f"{tmp_path}/strict"))
    assert kept == [pair for pair in pairs if pair[0] >= least]


@pytest.mark.parametrize("rows", [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_stores_of_next_to_nothing(tmp_path: Path, rows: tuple[int, int]) -> None:
    for name, count in zip(("source", "target"), rows, strict=True):
        write_store(tmp_path / name, vectors(count), parts=1)
    with inline() as start:
        result = mined(tmp_path)
    assert found(result) == ([[1.0, 0, 0]] if rows == (1, 1) else [])
    assert start.call_count == (2 if rows == (1, 1) else 0)
    assert "1 shards" in bitext_summary(result)
    assert mined(tmp_path).already_complete
    assert (">No pairs<" in (tmp_path / "out" / PAGE).read_text()) == (rows != (1, 1))


@pytest.mark.parametrize(
    ("side", "value", "precision", "message"),
    [
        ("source", np.nan, "float32", r"source: the embedding of 'd17' is not finite \(such rows: 3\)"),
        ("target", -np.inf, "float16", r"target: the embedding of 'd17' is not finite \(such rows: 3\)"),
        ("target", 0, "float32", r"target: the embedding of 'd17' is all zeros, .* \(such rows: 3\)"),
    ],
)
def test_rows_without_a_cosine_are_found_before_any_search(
    tmp_path: Path, side: str, value: float, precision: str, message: str
) -> None:
    for name in ("source", "target"):
        embeddings = vectors(40)
        if name == side:
            embeddings[[17, 30, 39]] = value
        write_store(tmp_path / name, embeddings, precision=precision)
    with inline() as start, mock.patch.object(check, "_ROWS", 9), pytest.raises(InputError, match=message):
        mined(tmp_path)
    assert not start.called
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_later_run_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    for seed, name in enumerate(("source", "target")):
        write_store(tmp_path / name, vectors(30, seed=seed))
    with inline() as start:
        # There are 3 shards forward, 3 backward, the chosen pairs, and 3 parts.
        for commits, pools in ((2, 1), (2, 2), (2, 1), (2, 0)):
            start.reset_mock()
            with interrupted_after(commits), pytest.raises(KeyboardInterrupt):
                mined(tmp_path, shard_rows=10)
            assert start.call_count == pools
        result = mined(tmp_path, shard_rows=10)
    assert result.manifest.run["shards_done_before"] == {"forward": 3, "backward": 3, "write": 1}
    assert "earlier run: forward 3, backward 3, write 1" in bitext_summary(result)
    assert not (tmp_path / "out" / "staging").exists()


def test_staged_arrays_come_back(tmp_path: Path) -> None:
    url = str(tmp_path / "x.arrow")
    scores, neighbors = np.ones((3, 2), np.float32), np.arange(6).reshape(3, 2)
    Path(url).write_bytes(staging.nearest_bytes(scores, neighbors, np.full(3, 0.5, np.float32)))
    back = staging.read_nearest(url)
    assert [array.dtype for array in back] == [np.float32, np.int64]
    np.testing.assert_array_equal(back[0], scores)
    np.testing.assert_array_equal(back[1], neighbors)
    assert staging.read_means(url).tolist() == [0.5] * 3
    Path(url).write_bytes(Path(url).read_bytes()[:-20])
    with pytest.raises(InputError, match=r"x\.arrow: cannot be read"):
        staging.read_means(url)
