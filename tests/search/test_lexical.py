"""Search by words: any cut of a corpus gives what bm25s gives on the whole, to the bit."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import bm25s
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError
from st_ray.scoring.topk import PADDING, merged
from st_ray.search.lexical import (
    Bm25,
    LexicalSearcher,
    Words,
    frequencies_of,
    merged_frequencies,
    statistics_of,
)
from st_ray.store.terms import TermCounts

METHODS = ("lucene", "robertson", "atire", "bm25l", "bm25+")
WORDS, LUCENE = Words(), Bm25()
# Stop words, a word too short to be one, and letters beyond ASCII are among them.
TEXTS = st.lists(st.sampled_from(["wing", "Wing", "flow", "heat", "drag", "the", "of", "a", "été"]), max_size=9).map(
    " ".join
)
QUERIES = st.lists(st.sampled_from(["wing", "flow", "heat", "drag", "the", "été", "unheard"]), max_size=6).map(" ".join)


def cut(texts: Sequence[str], cuts: Sequence[int], words: Words = WORDS) -> list[TermCounts]:
    bounds = [0, *sorted(min(place, len(texts)) for place in cuts), len(texts)]
    return [words.count(texts[first:last]) for first, last in itertools.pairwise(bounds)]


def searched(
    pieces: Sequence[TermCounts], queries: Sequence[str], k: int, formula: Bm25 = LUCENE, words: Words = WORDS
) -> tuple[np.ndarray, np.ndarray]:
    """By a searcher for each piece."""
    statistics = statistics_of(pieces)
    firsts = np.cumsum([0, *map(len, pieces)]).tolist()
    asked = words.of(queries)
    found = [
        LexicalSearcher([piece], statistics, formula, first).search(asked, k)
        for piece, first in zip(pieces, firsts, strict=False)
    ]
    return merged(found, k)


def by_bm25s(
    texts: Sequence[str], queries: Sequence[str], k: int, formula: Bm25
) -> tuple[list[list[float]], list[list[int]]]:
    """Scores and positions by the peer on the whole corpus; of documents that share a word with the query."""
    corpus = bm25s.tokenize(list(texts), show_progress=False)
    asked = bm25s.tokenize(list(queries), return_ids=False, show_progress=False)
    if not corpus.vocab:
        return [[] for _ in asked], [[] for _ in asked]
    peer = bm25s.BM25(method=formula.method, k1=formula.k1, b=formula.b)
    peer.index(corpus, show_progress=False)
    scores, positions = [], []
    for words in asked:
        wanted = {corpus.vocab[word] for word in words if word in corpus.vocab}
        sharing = [number for number, ids in enumerate(corpus.ids) if wanted & set(ids)]
        all_scores = peer.get_scores(words) if wanted else np.zeros(len(texts))
        best = sorted(sharing, key=lambda number: (-all_scores[number], number))[:k]
        scores.append([float(all_scores[number]) for number in best])
        positions.append(best)
    return scores, positions


def as_lists(found: tuple[np.ndarray, np.ndarray]) -> tuple[list[list[float]], list[list[int]]]:
    scores, positions = found
    assert (scores.dtype, positions.dtype) == (np.float32, np.int64)
    assert np.isneginf(scores[positions == PADDING]).all()
    real = [row != PADDING for row in positions]
    return (
        [row[keep].tolist() for row, keep in zip(scores, real, strict=True)],
        [row[keep].tolist() for row, keep in zip(positions, real, strict=True)],
    )


@settings(deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=7),
    queries=st.lists(QUERIES, min_size=1, max_size=4),
    k=st.integers(1, 30),
    formula=st.builds(Bm25, st.sampled_from(METHODS), st.sampled_from([1.5, 0.9, 0.01]), st.sampled_from([0.75, 0, 1])),
)
def test_any_cut_gives_what_bm25s_gives_on_the_whole(
    texts: list[str], cuts: list[int], queries: list[str], k: int, formula: Bm25
) -> None:
    expected = by_bm25s(texts, queries, k, formula)
    assert as_lists(searched(cut(texts, cuts), queries, k, formula)) == expected
    # One searcher over several pieces is one over their documents.
    pieces = cut(texts, cuts)
    together = LexicalSearcher(pieces, statistics_of(pieces), formula)
    assert as_lists(together.search(WORDS.of(queries), k)) == expected


@pytest.mark.parametrize("method", METHODS)
def test_long_documents_and_many_of_them(method: str) -> None:
    rng = np.random.default_rng(3)
    known = np.array([f"w{number}" for number in range(400)])
    odds = 1 / np.arange(1, 401)
    odds /= odds.sum()
    texts = [" ".join(rng.choice(known, rng.integers(0, 120), p=odds)) for _ in range(700)]
    queries = [" ".join(rng.choice(known, 25, p=odds)) for _ in range(12)]
    formula = Bm25(method, 1.2, 0.6)
    expected = by_bm25s(texts, queries, 50, formula)
    for cuts in ([], [1, 1, 80, 333, 334, 699]):
        assert as_lists(searched(cut(texts, cuts), queries, 50, formula)) == expected


@settings(deadline=None)
@given(texts=st.lists(TEXTS, max_size=20), cuts=st.lists(st.integers(0, 20), max_size=7), fan_in=st.integers(1, 4))
def test_statistics_are_summed_in_any_tree(texts: list[str], cuts: list[int], fan_in: int) -> None:
    whole = frequencies_of(WORDS.count(texts))
    tables = [frequencies_of(piece) for piece in cut(texts, cuts)]
    halves = [merged_frequencies(tables[start : start + fan_in]) for start in range(0, len(tables), fan_in)]
    assert merged_frequencies(reversed(halves)).equals(merged_frequencies([whole]))
    corpus = [set(words.as_py()) for words in WORDS.of(texts)]
    assert dict(zip(*whole.to_pydict().values(), strict=True)) == {
        word: sum(word in document for document in corpus) for word in set().union(*corpus)
    }


def test_counts() -> None:
    counts = WORDS.count(["Flow of flow, wing", "", "a wing's"])
    assert counts.vocabulary.to_pylist() == ["flow", "wing"]
    assert counts.lengths.tolist() == [3, 0, 1]
    assert counts.starts.tolist() == [0, 2, 2, 3]
    assert (counts.codes.tolist(), counts.counts.tolist()) == ([0, 1, 1], [2, 1, 1])
    assert Words(stopwords="none").of(["The wing of"]).to_pylist() == [["the", "wing", "of"]]


def test_a_word_that_is_everywhere_weighs_nothing_and_still_is_a_hit() -> None:
    pieces = cut(["wing", "wing", "wing flow", "heat"], [2])
    scores, positions = as_lists(searched(pieces, ["wing"], 9, Bm25("robertson")))
    assert (scores, positions) == ([[0.0, 0.0, 0.0]], [[0, 1, 2]])


def test_ties_go_to_the_smaller_position_across_pieces() -> None:
    texts = ["heat", "wing drag", "wing flow", "wing heat", "wing drag"]
    for cuts in ([], [1, 2, 3, 4]):
        assert as_lists(searched(cut(texts, cuts), ["wing"], 3))[1] == [[1, 2, 3]]


def test_nothing_to_find() -> None:
    for texts in (["wing"], ["", "the of"], []):
        found = searched(cut(texts, []), ["unheard", "", "the"], 2)
        assert as_lists(found) == ([[], [], []], [[], [], []])
    assert searched(cut(["wing"], []), [], 2)[0].shape == (0, 2)


def test_a_slice_of_queries_is_read_as_such() -> None:
    pieces = cut(["wing", "flow", "heat"], [])
    asked = WORDS.of(["heat heat", "flow", "wing"])[1:]
    assert isinstance(asked, pa.ListArray)
    searcher = LexicalSearcher(pieces, statistics_of(pieces), Bm25(), first=10)
    assert searcher.search(asked, 1)[1].tolist() == [[11], [10]]


def test_stems() -> None:
    pytest.importorskip("Stemmer", reason="PyStemmer is not installed")
    words = Words(stemmer="english")
    assert words.of(["connections connected"]).to_pylist() == [["connect", "connect"]]
    texts = ["connected flows", "wing", "a connection"]
    found = searched(cut(texts, [1], words), ["connecting"], 5, words=words)
    assert sorted(as_lists(found)[1][0]) == [0, 2]
    with pytest.raises(ConfigError, match=r"--bm25-stemmer klingon is unknown"):
        Words(stemmer="klingon").check()


def test_a_stemmer_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Stemmer", None)
    with pytest.raises(ConfigError, match="needs PyStemmer"):
        Words(stemmer="english").check()
    Words().check()
