"""Actors that each hold a share of what is searched, and how a block of queries is put to all of them.

Every actor has two charges: what it searches (some parts of an index, a copy of a whole one, a range of rows, or the
words of some documents), and a range of rows for which it knows ids and embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from st_ray.runtime.at_work import Place, asked, asking
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.resources import ActorPlan
from st_ray.scoring.topk import PADDING, TopK, merged

if TYPE_CHECKING:
    from st_ray.search.rescoring import Rescorer  # it loads torch, which a search by words does without

_FAN_IN = 8
"""Results that one task merges."""


class Searcher(Protocol):
    """Searches a share of the corpus."""

    def search(self, queries: Any, k: int, parameter: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and positions int64 `[q, k]`, best first, `PADDING` where short; see `ExactSearcher`.

        Args:
            queries: a block of q, such as the searcher takes: float32 `[q, d]`, or the words of each.
        """


class Rows(Protocol):
    """Knows the ids of the corpus."""

    def ids(self, first: int, last: int) -> pa.Array:
        """Those of the rows at `first` up to before `last`, strings or int64."""


@dataclass(frozen=True)
class Share:
    """What an actor is told.

    Attributes:
        make: loads what it searches; gets a function that counts done work, as a share of all.
        first: first row that it knows id and embedding of.
        last: the row after the last.
        rescorer: makes what knows the embeddings; None where there are none.
        threads: compute threads of torch and FAISS; None for a searcher that uses neither.
    """

    make: Callable[[Callable[[float], None]], Searcher]
    rows: Rows
    first: int
    last: int
    rescorer: Callable[[], Rescorer] | None = None
    threads: int | None = None
    meter: MeterClient | None = None


class Holder:
    """What runs in an actor. Loading is left to the first call, since a restarted actor is not told to.

    Who asks may say at which shard: a process that hangs can be found by it.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._searcher: Searcher | None = None
        self._rescorer: Rescorer | None = None
        self._ids: pa.Array | None = None
        self._queries = 0

    def load(self) -> None:
        """Load now, so that what cannot be loaded shows before any work."""
        self._use_threads()
        self._loaded()

    def search(
        self, queries: Any, k: int, parameter: int | None = None, place: Place | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Searcher`."""
        self._use_threads()
        self._queries = len(queries)
        with asked("search", place):
            found = self._loaded().search(queries, k, parameter)
        if self._share.meter is not None:
            self._share.meter.flush()
        return found

    def rescore(self, queries: np.ndarray, positions: np.ndarray, place: Place | None = None) -> np.ndarray:
        """See `Rescorer.score`."""
        self._use_threads()
        with asked("rescore", place):
            if self._rescorer is None:
                if self._share.rescorer is None:
                    raise ValueError("there are no embeddings to score again")
                self._rescorer = self._share.rescorer()
            return self._rescorer.score(queries, positions)

    def ids(self, positions: np.ndarray, place: Place | None = None) -> pa.Array:
        """Ids of rows of ours, in the order of `positions`."""
        with asked("read ids", place):
            if self._ids is None:
                self._ids = self._share.rows.ids(self._share.first, self._share.last)
            return self._ids.take(pa.array(positions - self._share.first))

    def _loaded(self) -> Searcher:
        if self._searcher is None:
            self._searcher = self._share.make(self._count)
        return self._searcher

    def _count(self, share: float) -> None:
        if self._share.meter is not None:
            self._share.meter.add(rows=self._queries * share)

    def _use_threads(self) -> None:
        if self._share.threads is None:
            return
        # OpenMP keeps the number by calling thread, and Ray may call from another one each time.
        import torch

        torch.set_num_threads(self._share.threads)
        try:
            import faiss
        except ImportError:
            return
        faiss.omp_set_num_threads(self._share.threads)


@dataclass(frozen=True)
class SearchPool:
    """The actors, as tasks see them.

    Attributes:
        actors: all of them, in the order of the rows that they know.
        bounds: int64 `[actors + 1]`, the rows at which their ranges begin, and the number of rows.
        groups: the actors by what they search; those of one group hold copies of the same.
    """

    actors: Sequence[Any]
    bounds: np.ndarray
    groups: Sequence[Sequence[int]]

    def search(
        self, queries: Any, k: int, parameter: int | None = None, turn: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` of all groups; see `Searcher`. `turn` picks among copies.

        Raises:
            StRayError: what an actor raised.
        """
        if not len(queries):
            return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
        block = ray.put(queries)
        actors = [self.actors[group[turn % len(group)]] for group in self.groups]
        merge = ray.remote(_merge).options(num_cpus=0)
        with asking() as place:
            found = [actor.search.remote(block, k, parameter, place) for actor in actors]
            while len(found) > _FAN_IN:
                found = [merge.remote(k, *found[start : start + _FAN_IN]) for start in range(0, len(found), _FAN_IN)]
            return merged([result_of(ref) for ref in found], k)

    def rescore(self, queries: np.ndarray, positions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` of the rows at `positions` `[q, m]` by their embeddings; see `Searcher` for what comes back."""
        block, places = ray.put(queries), ray.put(positions)
        scores = np.full(positions.shape, -np.inf, np.float32)
        with asking() as place:
            for ref in [actor.rescore.remote(block, places, place) for actor in self._with_rows_at(positions)]:
                np.maximum(scores, result_of(ref), out=scores)
        best = TopK(len(queries), k)
        best.merge(scores, positions)
        return best.padded()

    def ids(self, positions: np.ndarray) -> pa.Array:
        """Ids of the rows at `positions`, `[n]`."""
        order = np.argsort(positions, kind="stable")
        cuts = np.searchsorted(positions[order], self.bounds)
        with asking() as place:
            refs = [
                actor.ids.remote(positions[order[low:high]], place)
                for actor, low, high in zip(self.actors, cuts[:-1], cuts[1:], strict=True)
                if low < high
            ]
            refs = refs or [self.actors[0].ids.remote(positions, place)]  # none, but of the right type
            sorted_ids = pa.chunked_array([result_of(ref) for ref in refs]).combine_chunks()
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pc.take(sorted_ids, pa.array(back))

    def stop(self) -> None:
        """End the actors, so that what they hold is free for the next step of a job."""
        for actor in self.actors:
            ray.kill(actor)

    def _with_rows_at(self, positions: np.ndarray) -> list[Any]:
        owners = np.unique(np.searchsorted(self.bounds, positions[positions != PADDING], side="right") - 1)
        return [self.actors[owner] for owner in owners.tolist()]


def consecutive(sizes: Sequence[int], count: int) -> list[int]:
    """Where to cut parts of these sizes into `count` runs of about the same size, each of one part at least.

    Returns:
        `count + 1` places, from 0 to the number of parts; `count` is not above it.
    """
    ends = np.cumsum(sizes)
    bounds = np.linspace(0, ends[-1], count + 1)
    # A part goes where its middle lies.
    cuts = [0, *np.searchsorted(ends - np.asarray(sizes) / 2, bounds[1:-1]).tolist(), len(sizes)]
    for number in range(1, count):
        cuts[number] = min(max(cuts[number], cuts[number - 1] + 1), len(sizes) - (count - number))
    return cuts


def start_pool(shares: Sequence[Share], groups: Sequence[Sequence[int]], plan: ActorPlan) -> SearchPool:
    """Start an actor for each share, spread over the machines, and load them all.

    Raises:
        StRayError: what a share needs cannot be loaded.
    """
    actor = ray.remote(Holder).options(
        num_cpus=plan.cpus,
        num_gpus=plan.gpus or None,
        max_restarts=-1,
        max_task_retries=3,
        scheduling_strategy="SPREAD",
    )
    actors = [actor.remote(share) for share in shares]
    bounds = np.array([*(share.first for share in shares), shares[-1].last], np.int64)
    pool = SearchPool(actors, bounds, groups)
    try:
        for ref in [actor.load.remote() for actor in actors]:
            result_of(ref)
    except BaseException:
        pool.stop()
        raise
    return pool


def _merge(k: int, *found: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return merged(found, k)
