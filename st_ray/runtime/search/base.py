"""What every kind of search comes down to: something that is searched, and blocks of queries that are put to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from st_ray.runtime.meter import MeterClient
from st_ray.runtime.resources import ActorPlan
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.pool import Share
from st_ray.store.lineage import Lineage

QUERIES = "queries"
"""Folder within the output that query texts are encoded into: an output of its own."""
TERMS = "terms"
"""Folder within the output for the term counts of a corpus of texts: an output of its own."""


@dataclass(frozen=True)
class QueryBlock:
    """The q queries of a shard.

    Attributes:
        ids: `[q]` string or int64.
        asked: what the searchers take: float32 `[q, d]`, or the words of each as list<string> `[q]`.
        first_row: number of the shard's first query.
        rejects: rows of the input that were left out, a table of REJECTS_SCHEMA; None where there can be none.
    """

    ids: pa.Array
    asked: Any
    first_row: int
    rejects: pa.Table | None = None


@dataclass(frozen=True)
class Queries:
    """All queries, in shards.

    Attributes:
        rows: queries in all.
        shards: a picklable descriptor of each shard.
        sizes: rows of each.
        read: the queries of a shard, by its descriptor; runs in workers.
        describe: what to call a shard in an error.
    """

    rows: int
    shards: Sequence[Any]
    sizes: Sequence[int]
    read: Callable[[Any], QueryBlock]
    describe: Callable[[Any], str]


class SearchTarget(Protocol):
    """What is searched."""

    def plan(self, config: SearchConfig) -> ActorPlan:
        """The actors that the flags ask for on the running cluster."""

    def shares(
        self, plan: ActorPlan, keep_bytes: int, meter: MeterClient | None
    ) -> tuple[list[Share], list[list[int]]]:
        """What each actor of the plan holds, and which of them hold the same.

        Args:
            keep_bytes: memory of an actor for what it would read anew for every shard of queries otherwise.
        """


@dataclass(frozen=True)
class Ready:
    """A search that can begin.

    Attributes:
        about: what a reader of the hits wants to know of the corpus and of the scores.
        multiplier: candidates in multiples of top-k, to be scored again; 0 for none.
    """

    target: SearchTarget
    queries: Queries
    about: Mapping[str, Any]
    multiplier: int = 0


class SearchKind(Protocol):
    """A kind of search, opened by its flags and checked as far as that needs no work."""

    @property
    def own(self) -> str:
        """Folder within the output that it makes ready in."""

    @property
    def lineage(self) -> Lineage:
        """What makes the hits, but what is an output of its own."""

    def ready(self, output: str, session: ExitStack) -> Ready:
        """Do what comes before the search, unless that is done; `session` takes over the Ray session.

        Raises:
            StRayError: what the flags name does not do; ShardError if some of the work failed.
        """
