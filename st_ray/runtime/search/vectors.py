"""Search by embeddings: a store or an index of it, and queries that are a store too, or texts that become one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.search.base import QUERIES, Queries, QueryBlock, Ready
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.queries import encode_queries
from st_ray.runtime.search.target import Target, open_target
from st_ray.scoring.vectors import StoredVectors
from st_ray.search.comparable import check_comparable
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import MANIFEST


@dataclass(frozen=True)
class VectorSearch:
    """See `SearchKind`.

    Attributes:
        asked: the store of queries, if one was named; None for texts.
        loader: an encoder of the caller's own for texts.
    """

    config: SearchConfig
    target: Target
    asked: StoredVectors | None
    loader: EncoderLoader | None
    own: ClassVar[str] = QUERIES

    @classmethod
    def open(cls, config: SearchConfig, loader: EncoderLoader | None) -> VectorSearch:
        """Open what the flags name, by manifests alone; raises what `open_target` and `check_comparable` raise."""
        target = open_target(config)
        asked = None
        if len(config.queries) == 1 and fs.is_file(fs.join(config.queries[0], MANIFEST)):
            asked = StoredVectors.open(config.queries[0])
            check_comparable(asked, target.store, target.similarity.name)
        return cls(config, target, asked, loader)

    @property
    def lineage(self) -> Lineage:
        """See `SearchKind`."""
        config = self.config
        return {
            **self.target.lineage,
            # Those of texts are an output of their own, with a lineage of its own.
            "queries": self.asked.digest if self.asked else QUERIES,
            "top_k": config.top_k,
            "similarity": self.target.similarity.name,
            "rescore_multiplier": self._multiplier,
            "format": config.format,
            "shard_rows": config.shard_rows,
        }

    def ready(self, output: str, session: ExitStack) -> Ready:
        """See `SearchKind`: texts are encoded."""
        target = self.target
        queries = self.asked or encode_queries(self.config, target.store, output, self.loader, session)
        check_comparable(queries, target.store, target.similarity.name)
        return Ready(target, stored_queries(queries, self.config.shard_rows), self._about(queries), self._multiplier)

    def _about(self, queries: StoredVectors) -> dict[str, Any]:
        store, index = self.target.store, self.target.index
        return {
            "scores": self._scores(),
            "corpus_rows": store.rows,
            "searched": self.config.index or self.config.embeddings,
            "embeddings": store.folder,
            "query_embeddings": queries.folder,
            "query_embeddings_digest": queries.digest,
            "factory": index.spec.factory if index else None,
            "parameter_name": index.spec.search_parameter if index else None,
        }

    @property
    def _multiplier(self) -> int:
        store, asked = self.target.store, self.config.rescore_multiplier
        if self.target.index is None and not store.is_binary:
            return 0  # every row is scored as finely as it can be
        return asked if asked is not None else 2 * store.is_binary

    def _scores(self) -> str:
        """What the scores are."""
        name = self.target.similarity.name
        if self.target.store.is_binary:
            return "dot products of queries and bits" if self._multiplier else "negated Hamming distances"
        return f"{name}, of the stored embeddings" if self._multiplier else name


def stored_queries(store: StoredVectors, shard_rows: int) -> Queries:
    """The rows of a store as queries."""
    shards = [(first, min(first + shard_rows, store.rows)) for first in range(0, store.rows, shard_rows)]
    return Queries(
        rows=store.rows,
        shards=shards,
        sizes=[last - first for first, last in shards],
        read=ReadVectors(store),
        describe=lambda shard: f"queries {shard[0]:,} to {shard[1] - 1:,}",
    )


@dataclass(frozen=True)
class ReadVectors:
    """A shard of queries from their store."""

    store: StoredVectors

    def __call__(self, shard: tuple[int, int]) -> QueryBlock:
        """The queries; raises InputError for one that is not finite."""
        first, last = shard
        blocks = [self.store.floats(rows) for _, rows in self.store.blocks(first, last)]
        asked = np.concatenate(blocks) if blocks else np.empty((0, self.store.dimension), np.float32)
        ids = self.store.ids(first, last)
        finite = np.isfinite(asked).all(axis=1)
        if not finite.all():
            identity = ids[int(np.flatnonzero(~finite)[0])].as_py()
            raise InputError(
                f"the embedding of query {identity!r} is not finite ({int((~finite).sum())} such queries in this "
                "shard)",
                f"encode the queries of {self.store.folder} again",
            )
        return QueryBlock(ids, asked, first)
