"""Actors that each hold a share of the rows, and what they are asked together: vectors, neighbours and cosines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch

from st_ray.mining.neighbourhoods import Neighbourhoods, Rows, neighbourhoods, single_threads
from st_ray.runtime.mining.communities.count import Span
from st_ray.runtime.mining.communities.rows import block_rows, load_rows
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.resources import ActorPlan
from st_ray.scoring.kernels import strict_products
from st_ray.scoring.vectors import StoredVectors

_BLOCK_ROWS = 16_384
_LEAST_ROWS = 25_000
"""Rows that are worth an actor of their own."""
_THIN = 0.75
"""A block is made smaller when no more than this share of its rows is left."""


@dataclass(frozen=True)
class Share:
    """What an actor is told.

    Attributes:
        span: its rows.
        keep_bytes: memory for rows; those that do not fit are read anew for each question.
        threads: compute threads.
        device: cpu or cuda.
    """

    store: StoredVectors
    span: Span
    threshold: float
    keep_bytes: int
    threads: int
    device: str


@dataclass(frozen=True)
class Block:
    """Some rows of a span.

    Attributes:
        positions: int64 `[m]`, rising, counted from the share's first row.
    """

    positions: np.ndarray
    rows: Rows

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        side = self.rows.side
        tensors = [self.rows.given, side.vectors, side.coarse, side.lengths, side.lost]
        storages = {t.data_ptr(): t.numel() * t.element_size() for t in tensors if t is not None}
        return self.positions.nbytes + sum(storages.values())

    def has(self, positions: np.ndarray) -> bool:
        """Whether all of the rows, int64, are here."""
        return bool(np.isin(positions, self.positions).all())

    def only(self, positions: np.ndarray) -> Block:
        """Those rows, int64, rising; or the same block, where there are few others."""
        if len(positions) > _THIN * len(self.positions):
            return self
        return Block(positions, self.rows.take(np.searchsorted(self.positions, positions)))


class Holder:
    """What runs in an actor. Rows are loaded when they are asked for, since a restarted actor is not told to."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._spans = share.span.cut(block_rows(_BLOCK_ROWS, share.store.dimension))
        self._kept: dict[Span, Block] = {}
        self._room = share.keep_bytes

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """Of rows of ours, counted from the share's first: float32 `[m, d]`."""
        found = np.empty((len(positions), self._share.store.dimension), np.float32)
        for block, asked, places in self._with_rows_at(positions):
            found[asked] = _given(block, places).cpu().numpy()
        return found

    def neighbours(self, centres: np.ndarray, taken: np.ndarray) -> Neighbourhoods:
        """Rows of ours that are neighbours of `centres` and not taken, by position in the store.

        Args:
            centres: float32 `[m, d]`.
            taken: bits, one a row of the share.
        """
        share = self._share
        torch.set_num_threads(share.threads)  # Ray may call from another thread each time
        out = np.unpackbits(taken, count=share.span.rows).view(bool)
        asked = Rows.prepare(_tensor(centres, share.device))
        found = [(0, Neighbourhoods(np.zeros(len(centres) + 1, np.int64), np.empty(0, np.int64)))]
        for span in self._spans:
            here = span.within(share.span)
            left = here.start + np.flatnonzero(~out[here])
            if not len(left):
                self._forget(span)
                continue
            block = self._block(span, left).only(left)
            self._keep(span, block)
            lists = _listed(asked, block.rows, share.threshold)
            found.append((share.span.first, _only(lists, block.positions, ~out)))
        return Neighbourhoods.join(found)

    def cosines(self, centres: np.ndarray, owners: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Of rows of ours with a centre each: float32 `[n]`.

        Args:
            centres: float32 `[m, d]`.
            owners: int64 `[n]`, of each row its centre.
            positions: int64 `[n]`, counted from the share's first row.
        """
        torch.set_num_threads(self._share.threads)
        scores = np.empty(len(positions), np.float32)
        for block, asked, places in self._with_rows_at(positions):
            mine, own = np.unique(owners[asked], return_inverse=True)
            given = _given(block, places)
            both = Rows.prepare(torch.cat([_tensor(centres[mine], self._share.device), given]), coarse=False)
            scores[asked] = both.cosines(own, len(mine) + np.arange(len(own)))
        return scores

    def _with_rows_at(self, positions: np.ndarray) -> Iterator[tuple[Block, np.ndarray, np.ndarray]]:
        """Blocks that have some of the rows; which of `positions` these are, and their places in the block."""
        begins = np.array([span.first - self._share.span.first for span in self._spans])
        owners = np.searchsorted(begins, positions, side="right") - 1
        for number in np.unique(owners).tolist():
            span, asked = self._spans[number], np.flatnonzero(owners == number)
            block = self._block(span, positions[asked])
            self._keep(span, block)
            yield block, asked, np.searchsorted(block.positions, positions[asked])

    def _block(self, span: Span, positions: np.ndarray) -> Block:
        """Rows of `span`, those at `positions` among them; it is not kept any more."""
        block = self._forget(span)
        # A pass that begins again asks for rows which the one before it had taken.
        if block is None or not block.has(positions):
            rows = load_rows(self._share.store, *span, self._share.device)
            block = Block(np.arange(*span) - self._share.span.first, rows)
        return block

    def _forget(self, span: Span) -> Block | None:
        block = self._kept.pop(span, None)
        self._room += block.bytes if block is not None else 0
        return block

    def _keep(self, span: Span, block: Block) -> None:
        """Keep it, where there is room."""
        if block.bytes <= self._room:
            self._kept[span] = block
            self._room -= block.bytes


@dataclass(frozen=True)
class Holders:
    """The actors, as the greedy pass sees them.

    Attributes:
        actors: in the order of their rows.
        bounds: int64 `[actors + 1]`, where their rows begin, and the number of rows.
    """

    actors: Sequence[Any]
    bounds: np.ndarray

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """Of the rows at `positions`, int64 `[m]`: float32 `[m, d]`. Raises what an actor raises, as the others do."""
        return self._of_rows(positions, lambda actor, some, rows: actor.vectors.remote(rows))

    def neighbours(self, centres: np.ndarray, taken: np.ndarray) -> Neighbourhoods:
        """See `Holder.neighbours`; `taken` is bool, one a row of the store."""
        asked = ray.put(centres)
        refs = [
            actor.neighbours.remote(asked, np.packbits(taken[first:last]))
            for actor, first, last in zip(self.actors, self.bounds[:-1], self.bounds[1:], strict=True)
        ]
        return Neighbourhoods.join([(0, result_of(ref)) for ref in refs])

    def cosines(self, centres: np.ndarray, owners: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """See `Holder.cosines`; `positions` are those in the store."""
        asked = ray.put(centres)
        return self._of_rows(positions, lambda actor, some, rows: actor.cosines.remote(asked, owners[some], rows))

    def stop(self) -> None:
        """End the actors, so that what they hold is free for the next step of the job."""
        for actor in self.actors:
            ray.kill(actor)

    def _of_rows(self, positions: np.ndarray, ask: Any) -> np.ndarray:
        """What the actors say of the rows that each has, in the order of `positions`."""
        order = np.argsort(positions, kind="stable")
        cuts = np.searchsorted(positions[order], self.bounds)
        refs = [
            ask(actor, order[low:high], positions[order[low:high]] - first)
            for actor, first, low, high in zip(self.actors, self.bounds[:-1], cuts[:-1], cuts[1:], strict=True)
            if low < high
        ]
        found = np.concatenate([result_of(ref) for ref in refs])
        back = np.empty_like(found)
        back[order] = found
        return back


def units(rows: int) -> int:
    """Into how many shares `rows` rows can be cut."""
    return max(1, rows // _LEAST_ROWS)


def start_holders(store: StoredVectors, threshold: float, plan: ActorPlan, keep_bytes: int) -> Holders:
    """Start the actors, spread over the machines; each loads its rows when it is first asked."""
    bounds = np.linspace(0, store.rows, min(plan.maximum, units(store.rows)) + 1).astype(np.int64)
    device = "cuda" if plan.gpus else "cpu"
    actor = ray.remote(Holder).options(
        num_cpus=plan.cpus,
        num_gpus=plan.gpus or None,
        max_restarts=-1,
        max_task_retries=3,
        scheduling_strategy="SPREAD",
    )
    actors = [
        actor.remote(Share(store, Span(first, last), threshold, keep_bytes, plan.threads, device))
        for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
    return Holders(actors, bounds)


def _tensor(array: np.ndarray, device: str) -> torch.Tensor:
    # What comes out of Ray's object store is read-only, which torch would warn of.
    return torch.from_numpy(array.copy()).to(device)


def _given(block: Block, places: np.ndarray) -> torch.Tensor:
    given = block.rows.given
    return given.index_select(0, torch.from_numpy(places).to(given.device))


def _listed(centres: Rows, rows: Rows, threshold: float) -> Neighbourhoods:
    """`neighbourhoods`, a slice of `rows` for each thread of torch's."""
    slices = Span(0, len(rows)).cut(max(1, -(-len(rows) // torch.get_num_threads())))
    with strict_products(), single_threads(rows.given.is_cuda) as pool:
        found = pool.map(lambda span: (span.first, neighbourhoods(centres, rows[slice(*span)], threshold)), slices)
        return Neighbourhoods.join(list(found))


def _only(lists: Neighbourhoods, positions: np.ndarray, kept: np.ndarray) -> Neighbourhoods:
    """The lists with `positions` in place of places, less those that are not `kept`."""
    ids = positions[lists.ids]
    left = kept[ids]
    return Neighbourhoods(np.concatenate([[0], np.cumsum(left)])[lists.offsets], ids[left])
