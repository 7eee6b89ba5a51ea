"""Relevance judgements (qrels): which documents answer which query, and how well."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.readers.files import reading
from st_ray.store.tabular import Layout, Rows, ids_of, numbers_of, read_rows

_BEIR_FIELDS = ("query_id", "corpus_id", "score")
_TREC_FIELDS = ("query_id", "iteration", "corpus_id", "score")
_LAYOUT = Layout(
    ids=("query_id", "corpus_id"),
    numbers={"score": pa.float64()},
    fields={3: _BEIR_FIELDS, 4: _TREC_FIELDS},
    headers=("query-id", "query_id", "queryid", "query", "qid", "topic", "topic-id", "topic_id"),
    aliases={"query-id": "query_id", "corpus-id": "corpus_id", "doc_id": "corpus_id", "relevance": "score"},
)
_SUFFIXES = (".tsv", ".txt", ".qrels", ".qrel", ".jsonl", ".parquet")


@dataclass(frozen=True, eq=False)
class Qrels:
    """Judgements by query.

    Ids are text: integers are compared by their decimal digits. A document that is not judged is not relevant.

    Attributes:
        query_ids: `[q]` string, each once, in the order of the source.
        starts: `[q + 1]` int64: query i's judgements are those from `starts[i]` to `starts[i + 1]`.
        corpus_ids: `[n]` string, each once a query.
        relevance: `[n]` int32; 0 is not relevant, and so is what the source grades below.
    """

    query_ids: pa.Array
    starts: np.ndarray
    corpus_ids: pa.Array
    relevance: np.ndarray

    @classmethod
    def from_dict(cls, judged: Mapping[str, Mapping[str, int]]) -> Qrels:
        """From `{query id: {corpus id: relevance}}`."""
        counts = [len(documents) for documents in judged.values()]
        corpus_ids = [corpus_id for documents in judged.values() for corpus_id in documents]
        grades = [grade for documents in judged.values() for grade in documents.values()]
        return cls(
            pa.array(list(judged), pa.string()),
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            pa.array(corpus_ids, pa.string()),
            np.maximum(np.array(grades, np.int32), 0),
        )

    @cached_property
    def relevant(self) -> np.ndarray:
        """`[q]` int64: documents of relevance 1 or more; a query with none is in no mean."""
        seen = np.concatenate([[0], np.cumsum(self.relevance > 0, dtype=np.int64)])
        return seen[self.starts[1:]] - seen[self.starts[:-1]]

    @property
    def judged(self) -> int:
        """Queries that have a relevant document: those that means are taken over."""
        return int(np.count_nonzero(self.relevant))

    @cached_property
    def digest(self) -> str:
        """Of all judgements in their order, hexadecimal; the same for the same judgements in any format."""
        digest = hashlib.blake2b(digest_size=16)
        for column in (self.query_ids, self.corpus_ids):
            lengths = pc.binary_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
            digest.update(len(column).to_bytes(8, "little") + lengths.tobytes())
            digest.update("".join(column.to_pylist()).encode())
        digest.update(self.starts.astype(np.int64).tobytes() + self.relevance.astype(np.int32).tobytes())
        return digest.hexdigest()

    def positions(self, query_ids: pa.Array) -> np.ndarray:
        """`[m]` int64: where each of `m` query ids stands in `query_ids`; -1 for one that does not."""
        found = pc.index_in(query_ids, value_set=self.query_ids)
        return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def of_query(self, position: int) -> dict[str, int]:
        """`{corpus id: relevance}` of one query."""
        start, end = int(self.starts[position]), int(self.starts[position + 1])
        documents = self.corpus_ids.slice(start, end - start).to_pylist()
        return dict(zip(documents, self.relevance[start:end].tolist(), strict=True))


def read_qrels(url: str) -> Qrels:
    """Judgements from a file or a folder, local or at any fsspec URL.

    A file is BEIR's TSV (`query-id corpus-id score`, tabs) or TREC's qrels (`qid 0 docid relevance`), with or without a
    header line, or JSON lines or Parquet with the columns query_id, corpus_id and score; text may be `.gz` or `.zst`.
    A folder is BEIR's, or the `qrels` within it: its only file is read, or that of the split `test`.

    Raises:
        InputError: no file, or more than one without a `test`; a row that is no judgement, or that contradicts
            another, by file and line; no relevant document at all.
    """
    rows = read_rows(_file_of(url), _LAYOUT)
    qrels = _grouped(rows)
    if not qrels.judged:
        raise InputError(
            f"{rows.url} calls no document relevant ({len(qrels.relevance)} judgements)",
            "name qrels with a relevance of 1 or more",
        )
    return qrels


def _file_of(url: str) -> str:
    inside = fs.join(url, "qrels")
    if _is_folder(inside):
        return _split_of(inside)
    return _split_of(url) if _is_folder(url) else url


def _is_folder(url: str) -> bool:
    filesystem, path = fs.open_fs(url)
    with reading(url):
        return bool(filesystem.isdir(path))


def _split_of(folder: str) -> str:
    """The only file of a folder of qrels, or its `test`."""
    files = [name for name in fs.list_files(folder) if _stem(name) != name]
    chosen = files if len(files) == 1 else [name for name in files if _stem(name) == "test"]
    if len(chosen) != 1:
        found = ", ".join(files) if files else f"no file that ends in {', '.join(_SUFFIXES)}"
        raise InputError(f"{folder}: which split? It holds {found}", "name one file with --qrels")
    return fs.join(folder, chosen[0])


def _stem(name: str) -> str:
    whole = name.removesuffix(".gz").removesuffix(".zst")
    return next((whole.removesuffix(suffix) for suffix in _SUFFIXES if whole.endswith(suffix)), name)


def _grouped(rows: Rows) -> Qrels:
    queries = ids_of(rows, "query_id").cast(pa.string()).dictionary_encode()
    documents = ids_of(rows, "corpus_id").cast(pa.string()).dictionary_encode()
    relevance = np.maximum(_relevance(rows), 0)
    codes, document_codes = (column.indices.to_numpy().astype(np.int64) for column in (queries, documents))
    order = np.argsort(codes, kind="stable")
    order = order[_first_of_each(rows, codes[order], document_codes[order], relevance[order], order)]
    counts = np.bincount(codes[order], minlength=len(queries.dictionary))
    return Qrels(
        query_ids=queries.dictionary,
        starts=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        corpus_ids=documents.dictionary.take(pa.array(document_codes[order])),
        relevance=relevance[order],
    )


def _relevance(rows: Rows) -> np.ndarray:
    values = numbers_of(rows, "score", pa.float64()).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero((values != np.floor(values)) | ~(np.abs(values) < 2**31))
    if len(odd):
        row = int(odd[0])
        raise InputError(
            f"{rows.place(row)}: the relevance {values[row]:g} is not a whole number", "grade with 0, 1, 2 and so on"
        )
    return values.astype(np.int32)


def _first_of_each(
    rows: Rows, queries: np.ndarray, documents: np.ndarray, relevance: np.ndarray, numbers: Sequence[int] | np.ndarray
) -> np.ndarray:
    """`[n]` bool: judgements that do not repeat an earlier one. InputError where one contradicts an earlier one."""
    order = np.lexsort((documents, queries))
    again = (np.diff(queries[order]) == 0) & (np.diff(documents[order]) == 0)
    contrary = np.flatnonzero(again & (np.diff(relevance[order]) != 0))
    if len(contrary):
        first, second = sorted(int(numbers[order[at]]) for at in (contrary[0], contrary[0] + 1))
        query, document = (rows.table[name][second].as_py() for name in _LAYOUT.ids)
        raise InputError(
            f"{rows.place(second)}: query {query!r} and document {document!r} were judged otherwise before "
            f"({rows.place(first)})",
            "leave one of the judgements",
        )
    keep = np.ones(len(queries), bool)
    keep[order[1:][again]] = False
    return keep
