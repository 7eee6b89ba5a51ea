"""The store of term counts: which words each document has, and how often, for lexical search.

A part's columns: `id` (string or int64, as in the source), `row` (int64, in the source), `length` (int32, words in
all), `terms` (list<string>, each word once, sorted) and `counts` (list<int32>, one a term). The rows of all parts do
not depend on how the corpus was cut. Beside the parts lies `statistics.parquet`: each `term` of the corpus, sorted,
and in how many `documents` it stands (int64).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.manifest import ShardEntry
from st_ray.store.readers.files import reading

KIND = "terms"
STATISTICS = "statistics.parquet"
_TERMS = "terms.list.element"
_DICTIONARY_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class TermCounts:
    """The words of n documents, m distinct ones in all of them one by one.

    Attributes:
        vocabulary: `[v]` string, sorted, each word once.
        lengths: int32 `[n]`, words of each document, repeated ones too.
        starts: int64 `[n + 1]`, where a document's words begin in the next two.
        codes: int32 `[m]`, places in the vocabulary, ascending within a document.
        counts: int32 `[m]`, how often the word stands in the document.
    """

    vocabulary: pa.Array
    lengths: np.ndarray
    starts: np.ndarray
    codes: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is known of a whole corpus.

    Attributes:
        documents: how many, empty ones too.
        words: of all documents, repeated ones too.
        terms: `[v]` large_string, sorted, each word once.
        frequencies: int64 `[v]`, in how many documents each stands.
    """

    documents: int
    words: int
    terms: pa.Array
    frequencies: np.ndarray


def terms_bytes(ids: pa.Array, rows: np.ndarray, counts: TermCounts) -> bytes:
    """One part as Parquet. The same input gives the same bytes."""
    offsets = pa.array(counts.starts.astype(np.int32))
    terms = pa.DictionaryArray.from_arrays(pa.array(counts.codes), counts.vocabulary)
    table = pa.table(
        {
            "id": ids,
            "row": pa.array(rows),
            "length": pa.array(counts.lengths),
            "terms": pa.ListArray.from_arrays(offsets, terms),
            "counts": pa.ListArray.from_arrays(offsets, pa.array(counts.counts)),
        }
    )
    # A vocabulary that outgrows its page would be followed by words spelled out, which are slow to read.
    return _parquet(table, use_dictionary=[_TERMS, "counts.list.element"])


def statistics_bytes(frequencies: pa.Table) -> bytes:
    """`statistics.parquet`, of a table with `term` and `documents`."""
    return _parquet(frequencies, use_dictionary=False)


@dataclass(frozen=True)
class StoredTerms:
    """The term counts of a corpus.

    Attributes:
        entries: the parts, in order.
    """

    folder: str
    entries: tuple[ShardEntry, ...]

    @cached_property
    def offsets(self) -> np.ndarray:
        """Positions at which the parts begin, and the number of documents: int64 `[parts + 1]`."""
        return np.cumsum([0, *(entry.rows for entry in self.entries)], dtype=np.int64)

    @property
    def rows(self) -> int:
        """Documents of all parts."""
        return int(self.offsets[-1])

    @property
    def words(self) -> int:
        """Of all documents."""
        return int(sum(entry.figures["words"] for entry in self.entries))

    def counts(self, part: int) -> TermCounts:
        """One part. Raises InputError, naming it, where it is missing or damaged."""
        return read_counts(self.folder, self.entries[part])

    def ids(self, first: int, last: int) -> pa.Array:
        """The ids of the documents at `first` up to before `last`, strings or int64; raises what `counts` raises."""
        pieces = []
        for part, entry in enumerate(self.entries):
            begin, end = self.offsets[part : part + 2].tolist()
            if begin < last and first < end:
                low, high = max(first, begin) - begin, min(last, end) - begin
                pieces.append(_read(self.folder, entry, ["id"]).slice(low, high - low))
        return pa.concat_tables(pieces)["id"].combine_chunks() if pieces else pa.array([], pa.string())

    def statistics(self) -> Statistics:
        """Those of the whole corpus. Raises InputError where their file is missing or damaged."""
        url = fs.join(self.folder, STATISTICS)
        with reading(url):
            table = pq.read_table(io.BytesIO(fs.read_bytes(url)))
        terms = table["term"].combine_chunks().cast(pa.large_string())
        return Statistics(self.rows, self.words, terms, table["documents"].to_numpy())


def read_counts(folder: str, entry: ShardEntry) -> TermCounts:
    """The words of one part of the store in `folder`. Raises InputError, naming it, where it is missing or damaged."""
    table = _read(folder, entry, ["length", "terms", "counts"])
    lists = table["terms"].combine_chunks()
    terms = lists.flatten()
    return TermCounts(
        vocabulary=terms.dictionary,
        lengths=table["length"].to_numpy(),
        starts=np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy(), dtype=np.int64)]),
        codes=terms.indices.to_numpy(),
        counts=table["counts"].combine_chunks().flatten().to_numpy(),
    )


def _read(folder: str, entry: ShardEntry, columns: Sequence[str]) -> pa.Table:
    url = fs.join(folder, "data", entry.name)
    filesystem, path = fs.open_fs(url)
    with reading(url), filesystem.open(path, "rb") as file:
        table = pq.read_table(file, columns=list(columns), read_dictionary=[_TERMS])
    if len(table) != entry.rows:
        raise InputError(f"{url} has {len(table)} rows, its record says {entry.rows}", "start again with --overwrite")
    return table


def _parquet(table: pa.Table, use_dictionary: Sequence[str] | bool) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression="zstd", use_dictionary=use_dictionary, dictionary_pagesize_limit=_DICTIONARY_BYTES
    )
    return sink.getvalue()
