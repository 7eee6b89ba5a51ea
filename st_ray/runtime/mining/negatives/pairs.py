"""Pairs of queries and documents by their ids, as the steps hand them on; and pairs found among others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.manifest import ShardEntry
from st_ray.store.readers.files import reading
from st_ray.store.readers.tables import open_parquet


@dataclass(frozen=True)
class PairRows:
    """n pairs of q queries and documents, query by query.

    Attributes:
        query_ids: int64 `[q]`.
        query: int64 `[n]`, which of them.
        document: int64 `[n]`, ids.
        scores: float32 `[n]`.
        columns: what else there is, by name: `[n]`.
    """

    query_ids: np.ndarray
    query: np.ndarray
    document: np.ndarray
    scores: np.ndarray
    columns: dict[str, np.ndarray]

    @property
    def counts(self) -> np.ndarray:
        """Pairs of each query, int64 `[q]`."""
        return np.bincount(self.query, minlength=len(self.query_ids))


def read_pair_rows(folder: str, entry: ShardEntry, first: int = 0, last: int | None = None) -> PairRows:
    """The rows at `first` up to before `last` of a part of hits that these steps have written.

    Raises:
        InputError: it is missing, cut short or damaged; it is named.
    """
    url = fs.join(folder, "data", entry.name)
    with reading(url), open_parquet(url) as file:
        table = file.read()
    if len(table) != entry.rows:
        raise InputError(f"{url} has {len(table)} rows, its manifest says {entry.rows}", "name another --work")
    arrays = {name: table[name].to_numpy()[first:last] for name in table.column_names}
    queries, rank = arrays.pop("query_id"), arrays.pop("rank")
    query = np.cumsum(rank == 1) - 1
    return PairRows(queries[rank == 1], query, arrays.pop("corpus_id"), arrays.pop("score"), arrays)


def joined_rows(pieces: Sequence[PairRows]) -> PairRows:
    """The pieces' rows, one behind another."""
    firsts = np.cumsum([0, *(len(piece.query_ids) for piece in pieces)])
    return PairRows(
        np.concatenate([piece.query_ids for piece in pieces]),
        np.concatenate([first + piece.query for first, piece in zip(firsts.tolist(), pieces, strict=False)]),
        np.concatenate([piece.document for piece in pieces]),
        np.concatenate([piece.scores for piece in pieces]),
        {name: np.concatenate([piece.columns[name] for piece in pieces]) for name in pieces[0].columns},
    )


def find_pairs(
    query: np.ndarray, document: np.ndarray, among_query: np.ndarray, among_document: np.ndarray
) -> np.ndarray:
    """Where each pair of `[n]` occurs among those of `[m]`, each of which is there once; -1 where it does not.

    Args:
        query: int64 from 0 on, below 2**23, as `among_query`.
        document: int64 from 0 on, below 2**40, or -1 for none, as `among_document`.
    """
    if not len(among_query):
        return np.full(len(query), -1)
    keys, known = (q << np.int64(40) | d for q, d in ((query, document), (among_query, among_document)))
    order = np.argsort(known)
    place = order[np.minimum(np.searchsorted(known[order], keys), len(known) - 1)]
    return np.where((known[place] == keys) & (document >= 0), place, -1)
