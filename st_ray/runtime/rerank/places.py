"""Where the texts of all pairs lie, and what a folder of hits may not have: see `texts_by_id.places`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.rerank.pairs import Cut, PairFolder, read_pairs, wanted_ids
from st_ray.runtime.texts_by_id.ids import distinct_ids
from st_ray.runtime.texts_by_id.places import Faults, Places, Sides, Wanted, find_places
from st_ray.runtime.texts_by_id.texts import PLURALS, Role, TextSide
from st_ray.store.join import Keyed


def find_pair_places(pairs: PairFolder, shard_pairs: int, sides: Sides, folder: str) -> Places:
    """Join the ids of the pairs with those of the texts.

    Args:
        folder: for the matches.

    Raises:
        InputError: an id without a text, a query without a word, a query with a document twice, or with its pairs in
            several places; or a file is damaged.
    """
    wanted = Wanted(
        ask=functools.partial(_ask, pairs, shard_pairs),
        slots=-(-pairs.pairs // shard_pairs),
        slot_rows=shard_pairs,
        rows={"document": pairs.pairs},
    )
    return find_places(wanted, sides, folder, functools.partial(_raise_faults, pairs))


def _ask(pairs: PairFolder, shard_pairs: int, slots: range) -> tuple[list[Cut], Mapping[Role, Keyed]]:
    cuts, queries, documents = wanted_ids(pairs, slots, shard_pairs)
    return cuts, {"query": queries, "document": documents}


def _raise_faults(pairs: PairFolder, side: TextSide, faults: Faults, cuts: Sequence[Cut]) -> None:
    """Raise InputError, naming the first, where an id does not do; its shard is read for that."""
    ordered = (faults.repeated, faults.blank, faults.missing)
    fault = next((fault for fault in ordered if fault.count), None)
    if fault is None:
        return
    slot, number = fault.first
    cut = next(cut for cut in cuts if cut.slot == slot)
    block = read_pairs(pairs.rows(cut.first_pair, cut.first_pair + cut.pairs))
    if side.role == "document":
        distinct, position = distinct_ids(block.corpus_ids)
        row = int(np.flatnonzero(position == number)[0])
        query = block.query_ids[int(np.searchsorted(block.starts, row, side="right")) - 1].as_py()
        what = f"query {query!r} has the document {distinct[number].as_py()!r}, which has"
    else:
        what = f"query {block.query_ids[number].as_py()!r} has"
    others = f"({fault.count:,} such {PLURALS[side.role]} in all)"
    if fault is faults.repeated:
        raise InputError(
            f"{pairs.name}: {what} its documents in several places {others}", "put all hits of a query together"
        )
    if fault is faults.blank:
        raise InputError(
            f"{pairs.name}: {what} an empty text in {side.name} {others}", "give it a text, or leave its hits out"
        )
    raise InputError(f"{pairs.name}: {what} no text in {side.name} {others}", _remedy(side))


def _remedy(side: TextSide) -> str:
    flags = ("--queries", "--id-column") if side.role == "query" else ("--corpus", "--corpus-id-column")
    remedy = f"name the texts that were searched with {flags[0]}, and the column of their ids with {flags[1]}"
    if side.spec.id_column is None:
        remedy += " (none is named, so that the rows are numbered)"
    if side.bad_rows:
        remedy += f"; {side.bad_rows:,} rows were left out by --on-bad-row skip"
    return remedy
