"""The store of search results: one row a hit, as Parquet, a TREC run or JSON lines; and the runs of other tools.

A part's columns: `query_id` (string or int64, as in the source), `rank` (int32, from 1), `corpus_id` (string or int64)
and `score` (float32); further numbers may follow. Rows stand by query, in the order of the queries' input, then by
rank; all hits of a query are in one part. A query without any hit appears in no row.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.manifest import Manifest, ShardEntry, read_manifest_of
from st_ray.store.tabular import Layout, Rows, ids_of, numbers_of, read_rows

KIND = "hits"
RUN_TAG = "st-ray"

HitsFormat = Literal["parquet", "trec", "jsonl"]
SUFFIXES: Mapping[HitsFormat, str] = {name: f".{name}" for name in get_args(HitsFormat)}
"""How the parts' names end."""

_COLUMNS = ("query_id", "rank", "corpus_id", "score")
_LAYOUT = Layout(
    ids=("query_id", "corpus_id"),
    numbers={"rank": pa.int32(), "score": pa.float32()},
    fields={6: ("query_id", "iteration", "corpus_id", "rank", "score", "tag")},
    optional=("rank",),
)
_KINDS: Mapping[str, str] = {"parquet": "parquet", "trec": "lines", "jsonl": "jsonl"}
# What str.split() splits at: the readers of other tools do.
_BLANK = r"[\s\x0b\x1c-\x1f\x{85}\p{Z}]"
_JSON_ESCAPED = r'["\\\x00-\x1f]'


def hits_table(query_ids: pa.Array, counts: Any, corpus_ids: pa.Array, scores: Any) -> pa.Table:
    """The rows of a part.

    Args:
        query_ids: `[q]` string or int64.
        counts: `[q]` int, hits of each query; 0 for a query without any.
        corpus_ids: `[n]` string or int64, n the sum of `counts`: query by query, best first.
        scores: `[n]` float32.
    """
    counts = np.asarray(counts, np.int64)
    total = int(counts.sum())
    if not (len(counts) == len(query_ids) and total == len(corpus_ids) == len(scores)):
        raise ValueError(f"{len(query_ids)} queries, {total} hits counted, {len(corpus_ids)} ids, {len(scores)} scores")
    starts = np.cumsum(counts) - counts
    ranks = np.arange(1, total + 1) - np.repeat(starts, counts)
    columns = (
        _ids(query_ids).take(pa.array(np.repeat(np.arange(len(counts)), counts))),
        pa.array(ranks.astype(np.int32)),
        _ids(corpus_ids),
        pa.array(np.asarray(scores, np.float32)),
    )
    return pa.table(dict(zip(_COLUMNS, columns, strict=True)))


def _ids(array: pa.Array) -> pa.Array:
    # An empty array that nobody gave a type is one of strings.
    return array.cast(pa.int64() if pa.types.is_integer(array.type) else pa.string())


def hits_bytes(table: pa.Table, format: HitsFormat) -> bytes:
    """One part's file. The same table gives the same bytes; a score's text reads back as the same float32.

    Raises:
        InputError: what the format cannot hold: in TREC an id that is empty or has whitespace in it, in JSON a score
            that is not finite.
    """
    if format == "parquet":
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue()
    return _trec_bytes(table) if format == "trec" else _jsonl_bytes(table)


def open_hits(folder: str) -> Manifest:
    """The manifest of a finished folder of hits. Raises InputError if `folder` holds anything else."""
    return read_manifest_of(folder, KIND, "name the output of jobs.search, fuse or rerank")


def read_hits(folder: str, entry: ShardEntry, *, unscored: bool = False) -> pa.Table:
    """One part, its format told by its name. In a TREC run, and in a part without rows, all ids are strings.

    Args:
        unscored: scores may be nan, of candidates that no retrieval has scored.

    Raises:
        InputError: the part is missing, cut short or damaged; it is named.
    """
    url = fs.join(folder, "data", entry.name)
    form = next((form for form, suffix in SUFFIXES.items() if entry.name.endswith(suffix)), None)
    if form is None:
        raise InputError(f"{url} is not one of {', '.join(SUFFIXES)}", "name the output of jobs.search, fuse or rerank")
    rows = read_rows(url, _LAYOUT, kind=_KINDS[form])
    if len(rows.table) != entry.rows:
        raise InputError(f"{url} has {len(rows.table)} hits, its manifest says {entry.rows}", "search again")
    if "rank" not in rows.table.column_names:
        raise InputError(f"{url} has no column rank", "search again")
    return _hits_of(rows, unscored)


def read_hits_file(url: str) -> pa.Table:
    """A single file of hits that anything wrote: a TREC run, or Parquet or JSON lines with the columns of ours.

    Told by its name (`.parquet`, `.pq`, `.jsonl`, `.ndjson`, `.json`; everything else is a run, and text may be `.gz`
    or `.zst`). Queries stand in the order of their first row. A query's hits are ranked by their ranks; where the file
    has no ranks, or the same twice for a query, all are ranked by score, equal scores as they stand. Ranks come out
    as 1, 2, 3 and so on.

    Raises:
        InputError: the file is missing or damaged, or a row is not a hit: file and line are named.
    """
    return _ranked(_hits_of(read_rows(url, _LAYOUT)))


def _hits_of(rows: Rows, unscored: bool = False) -> pa.Table:
    columns = {name: ids_of(rows, name) for name in _LAYOUT.ids}
    columns |= {
        name: numbers_of(rows, name, to) for name, to in _LAYOUT.numbers.items() if name in rows.table.schema.names
    }
    nan = -1 if unscored else pc.index(pc.is_nan(columns["score"]), True).as_py()
    if nan >= 0:
        raise InputError(f"{rows.place(nan)}: the score is not a number", "mend the line or leave it out")
    return pa.table({name: columns[name] for name in _COLUMNS if name in columns})


def _ranked(table: pa.Table) -> pa.Table:
    """`table` by query and rank, ranks renumbered."""
    queries = table["query_id"].combine_chunks().dictionary_encode()
    codes = queries.indices.to_numpy()
    order = None
    if "rank" in table.column_names:
        ranks = table["rank"].to_numpy()
        order = np.lexsort((ranks, codes))
        if np.any((np.diff(codes[order]) == 0) & (np.diff(ranks[order]) == 0)):
            order = None
    if order is None:
        order = np.lexsort((-table["score"].to_numpy(), codes))
    counts = np.bincount(codes, minlength=len(queries.dictionary))
    table = table.take(pa.array(order))
    return hits_table(queries.dictionary, counts, table["corpus_id"].combine_chunks(), table["score"].to_numpy())


def _trec_bytes(table: pa.Table) -> bytes:
    for name in _LAYOUT.ids:
        _check_blanks(name, _text(table[name]))
    query, rank, corpus, score = (_text(table[name]) for name in _COLUMNS)
    tag = pa.scalar(f"{RUN_TAG}\n", pa.large_string())
    return _joined([query, pa.scalar("Q0", pa.large_string()), corpus, rank, score, tag], " ")


def _check_blanks(name: str, ids: pa.Array) -> None:
    # Most parts repeat their ids many times.
    unique = ids.unique()
    bad = unique.filter(pc.or_(pc.match_substring_regex(unique, _BLANK), pc.equal(unique, "")))
    if len(bad):
        raise InputError(
            f"{name} {bad[0].as_py()!r} cannot stand in a TREC run: it has whitespace in it, or is empty",
            "use --format parquet or jsonl",
        )


def _jsonl_bytes(table: pa.Table) -> bytes:
    bad = pc.index(pc.is_finite(table["score"]), False).as_py()
    if bad >= 0:
        query, score = table["query_id"][bad].as_py(), table["score"][bad].as_py()
        raise InputError(f"query {query!r}: JSON has no number for the score {score}", "use --format parquet")
    pieces: list[Any] = []
    openings = ['{"', *[', "'] * (table.num_columns - 1)]
    for opening, name in zip(openings, table.column_names, strict=True):
        column = table[name]
        pieces.append(pa.scalar(f'{opening}{name}": ', pa.large_string()))
        pieces.append(_quoted(column) if pa.types.is_string(column.type) else _text(column))
    return _joined([*pieces, pa.scalar("}\n", pa.large_string())], "")


def _quoted(column: pa.ChunkedArray) -> pa.Array:
    """Strings as JSON."""
    text = _text(column)
    if pc.any(pc.match_substring_regex(text, _JSON_ESCAPED)).as_py():
        return pa.array([json.dumps(value, ensure_ascii=False) for value in text.to_pylist()], pa.large_string())
    quote = pa.scalar('"', pa.large_string())
    return pc.binary_join_element_wise(quote, text, quote, pa.scalar("", pa.large_string()))


def _text(column: pa.ChunkedArray) -> pa.Array:
    # Large strings: a part may hold more than the 2 GiB of text that 32-bit offsets reach.
    return column.cast(pa.large_string()).combine_chunks()


def _joined(pieces: list[Any], separator: str) -> bytes:
    """The rows' texts one behind another, as they lie in Arrow's memory."""
    lines = pc.binary_join_element_wise(*pieces, pa.scalar(separator, pa.large_string()))
    if not len(lines):
        return b""
    offsets = np.frombuffer(lines.buffers()[1], np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(lines.buffers()[2])[offsets[0] : offsets[-1]].tobytes()
