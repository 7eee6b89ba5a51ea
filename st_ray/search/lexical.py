"""BM25 by bm25s, over a corpus in any number of pieces: words, counts, statistics of the whole, and the search.

Every number is bm25s's own: its tokenizer cuts texts into words, its functions weigh a document's words by the
statistics of the whole corpus, and its retriever adds weights up. What is new is that the documents lie in pieces.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import bm25s
import bm25s.scoring as formulas
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from st_ray.core.errors import ConfigError
from st_ray.scoring.topk import PADDING
from st_ray.store.terms import Statistics, TermCounts

LIBRARY = f"bm25s {bm25s.__version__}"
"""What the words and the weights are those of."""
_FREQUENCIES = pa.schema([("term", pa.large_string()), ("documents", pa.int64())])


@dataclass(frozen=True)
class Words:
    """How a text becomes words: in lower case, two letters or digits at least, stop words left out, then stemmed.

    Attributes:
        stopwords: english or none.
        stemmer: a Snowball algorithm (english, porter, german, ...) or none.
    """

    stopwords: str = "english"
    stemmer: str = "none"

    def check(self) -> None:
        """Raise ConfigError where there is no such stemmer."""
        self._stemmer()

    def of(self, texts: Sequence[str]) -> pa.ListArray:
        """The words of each text in order: list<string> `[n]`."""
        return pa.array(self._tokenize(texts, return_ids=False), pa.list_(pa.string()))

    def count(self, texts: Sequence[str]) -> TermCounts:
        """The words of each text, counted."""
        ids, vocabulary = self._tokenize(texts, return_ids=True)
        words = sorted(vocabulary)
        place = np.empty(len(words), np.int64)
        place[[vocabulary[word] for word in words]] = np.arange(len(words))
        lengths = np.fromiter(map(len, ids), np.int32, len(ids))
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.int64, int(lengths.sum()))
        document = np.repeat(np.arange(len(ids), dtype=np.int64), lengths)
        found, counts = np.unique(document * len(words) + place[flat], return_counts=True)
        distinct, codes = np.divmod(found, max(1, len(words)))
        return TermCounts(
            vocabulary=pa.array(words, pa.string()),
            lengths=lengths,
            starts=np.searchsorted(distinct, np.arange(len(ids) + 1)),
            codes=codes.astype(np.int32),
            counts=counts.astype(np.int32),
        )

    def _tokenize(self, texts: Sequence[str], return_ids: bool) -> Any:
        stopwords = None if self.stopwords == "none" else self.stopwords
        return bm25s.tokenize(
            list(texts), stopwords=stopwords, stemmer=self._stemmer(), return_ids=return_ids, show_progress=False
        )

    def _stemmer(self) -> Any:
        if self.stemmer == "none":
            return None
        try:
            snowball = importlib.import_module("Stemmer")
        except ImportError as error:
            raise ConfigError(
                f"--bm25-stemmer {self.stemmer} needs PyStemmer, which is not installed", "pip install PyStemmer"
            ) from error
        if self.stemmer not in snowball.algorithms():
            known = ", ".join(snowball.algorithms())
            raise ConfigError(f"--bm25-stemmer {self.stemmer} is unknown", f"name none or one of {known}")
        return snowball.Stemmer(self.stemmer)


@dataclass(frozen=True)
class Bm25:
    """A formula of bm25s (lucene, robertson, atire, bm25l or bm25+) and its parameters."""

    method: str = "lucene"
    k1: float = 1.5
    b: float = 0.75

    def __str__(self) -> str:
        return f"BM25 ({self.method}, k1 {self.k1:g}, b {self.b:g})"


def frequencies_of(counts: TermCounts) -> pa.Table:
    """In how many `documents` each `term` stands; terms sorted, int64."""
    documents = np.bincount(counts.codes, minlength=len(counts.vocabulary)).astype(np.int64)
    return pa.table([counts.vocabulary.cast(pa.large_string()), pa.array(documents)], schema=_FREQUENCIES)


def merged_frequencies(tables: Iterable[pa.Table]) -> pa.Table:
    """The sum of several tables such as `frequencies_of` gives, in any order, as one of the same kind."""
    summed = pa.concat_tables([_FREQUENCIES.empty_table(), *tables]).group_by("term").aggregate([("documents", "sum")])
    return summed.rename_columns(["term", "documents"]).select(_FREQUENCIES.names).sort_by("term").combine_chunks()


def statistics_of(pieces: Sequence[TermCounts]) -> Statistics:
    """Those of a corpus in memory."""
    table = merged_frequencies(map(frequencies_of, pieces))
    return Statistics(
        documents=sum(map(len, pieces)),
        words=sum(int(piece.lengths.sum()) for piece in pieces),
        terms=table["term"].combine_chunks(),
        frequencies=table["documents"].to_numpy(),
    )


class LexicalSearcher:
    """Answers queries over some documents of a corpus, with the scores that bm25s gives them within the whole of it.

    A score is summed in float32, word by word in the order of the query, and weights depend on a document and on the
    statistics alone: so no cut of the corpus changes a bit. Memory: 8 bytes for each distinct word of each document,
    about four times that while the pieces come in, and for each term of the corpus some 30 bytes and its letters.

    Args:
        pieces: the documents, in order.
        statistics: of the whole corpus.
        first: position of the first document in the corpus.
        on_search: called after each search.
    """

    def __init__(
        self,
        pieces: Iterable[TermCounts],
        statistics: Statistics,
        formula: Bm25,
        first: int = 0,
        on_search: Callable[[], None] = lambda: None,
    ) -> None:
        self._terms = statistics.terms
        self._first = first
        self._on_search = on_search
        self._bm25 = bm25s.BM25(k1=formula.k1, b=formula.b, method=formula.method)
        self._mean_length = statistics.words / max(1, statistics.documents)
        self._idf, self._bm25.nonoccurrence_array = self._of_terms(statistics)
        self._bm25.scores = self._scores(pieces)

    def search(self, queries: pa.ListArray, k: int, parameter: None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` documents for each query, among those that share a word with it.

        Args:
            queries: list<string> `[q]`, the words of each; a word counts as often as it stands there.
            parameter: there is none.

        Returns:
            scores float32 and positions int64, `[q, k]`, best first, ties by smaller position; -inf and `PADDING` where
            there are fewer documents.
        """
        scores = np.full((len(queries), k), -np.inf, np.float32)
        positions = np.full((len(queries), k), PADDING, np.int64)
        places = self._places(queries.flatten())
        ends = np.cumsum(queries.value_lengths().to_numpy(), dtype=np.int64)
        for row, terms in enumerate(np.split(places, ends[:-1]) if len(queries) else []):
            known = terms[terms >= 0]
            if len(known):
                found, documents = self._best(known, k)
                scores[row, : len(found)] = found
                positions[row, : len(found)] = documents + self._first
        self._on_search()
        return scores, positions

    def _best(self, terms: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and documents `[at most k]` for one query, in order; `terms` int32, repeated as in the query."""
        weights = self._bm25.scores
        scores = self._bm25.get_scores_from_ids(terms)
        # Not by the scores: the weight of a word that is everywhere can be 0.
        shared = np.zeros(len(scores), bool)
        for term in np.unique(terms).tolist():
            shared[weights["indices"][weights["indptr"][term] : weights["indptr"][term + 1]]] = True
        documents = np.flatnonzero(shared)
        scores = scores[documents]
        if len(scores) > k:
            enough = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
            scores, documents = scores[enough], documents[enough]
        # Documents ascend, and a stable order leaves equal ones as they stand.
        order = np.argsort(-scores, kind="stable")[:k]
        return scores[order], documents[order]

    def _places(self, words: pa.Array) -> np.ndarray:
        """Of words among the corpus's terms: int32, -1 for one that is not there."""
        return pc.index_in(words.cast(pa.large_string()), value_set=self._terms).fill_null(-1).to_numpy()

    def _of_terms(self, statistics: Statistics) -> tuple[np.ndarray, np.ndarray | None]:
        """The inverse document frequency of each term, and what a document without it gets: float32 `[v]` or None."""
        bm25, mean = self._bm25, self._mean_length
        distinct, inverse = np.unique(statistics.frequencies, return_inverse=True)
        frequencies = dict(enumerate(distinct.tolist()))
        idf = formulas._select_idf_scorer(bm25.idf_method)
        idf_array = formulas._build_idf_array(frequencies, statistics.documents, idf)[inverse]
        if bm25.method not in bm25.methods_requiring_nonoccurrence:
            return idf_array, None
        tfc = formulas._select_tfc_scorer(bm25.method)
        absent = formulas._build_nonoccurrence_array(
            frequencies, statistics.documents, idf, tfc, mean, mean, bm25.k1, bm25.b, bm25.delta
        )
        return idf_array, absent[inverse]

    def _scores(self, pieces: Iterable[TermCounts]) -> dict[str, Any]:
        """The weight of each word of each document, by word, as bm25s keeps them."""
        weights, terms, sizes = [np.empty(0, np.float32)], [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
        for piece in pieces:
            terms.append(self._places(piece.vocabulary)[piece.codes])
            sizes.append(np.diff(piece.starts))
            weights.append(self._weights(piece, terms[-1], sizes[-1]))
        starts = np.cumsum(np.concatenate(sizes))
        shape = (len(starts) - 1, len(self._terms))
        by_term = csr_matrix((_drained(weights), _drained(terms), starts), shape=shape).tocsc()
        return {"data": by_term.data, "indices": by_term.indices, "indptr": by_term.indptr, "num_docs": shape[0]}

    def _weights(self, piece: TermCounts, terms: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Of each word of each document, float32 `[m]`: the steps and the precision of bm25s's own loop over them."""
        bm25 = self._bm25
        parts = formulas._select_tfc_scorer(bm25.method)(
            tf_array=piece.counts.astype(np.float32),
            l_d=np.repeat(piece.lengths, sizes),
            l_avg=self._mean_length,
            k1=bm25.k1,
            b=bm25.b,
            delta=bm25.delta,
        )
        scores = self._idf[terms] * parts
        if bm25.nonoccurrence_array is not None:
            scores -= bm25.nonoccurrence_array[terms]
        return scores.astype(np.float32)


def _drained(pieces: list[np.ndarray]) -> np.ndarray:
    """The pieces joined; the list is empty afterwards, so that memory holds them once."""
    joined = np.concatenate(pieces)
    pieces.clear()
    return joined
