"""`--factory auto`: the recipe for so many vectors, in so much memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

from st_ray.core.errors import ConfigError
from st_ray.core.summary import human_bytes
from st_ray.index.spec import IndexSpec

EXACT_ROWS = 50_000
"""Up to so many vectors are compared one by one."""
_GRAPH_FROM = 16_384
_MOST_LISTS = 1 << 18
_ROWS_PER_LIST = 39


def choose_spec(
    rows: int, dimension: int, similarity: str, memory_bytes: int, target_recall: float = 0.95, binary: bool = False
) -> IndexSpec:
    """The first of these that fits into `memory_bytes`.

    - `Flat` (`BFlat` for bits) up to 50,000 vectors, or where the target is 1: comparing all of them is a matrix
      product, which for 20,000 vectors of 384 dimensions took as long as inverted lists or a graph at a recall of 0.99.
    - Inverted lists (`IVF`), about 4 * sqrt(rows) of them, a power of two, so that a search compares with about as
      many centroids as vectors; from 16,384 lists on the centroids have a graph (`_HNSW32`), as comparing with all
      of them would take the longest. Lists, unlike a graph over all vectors, are filled in parallel, merged, mapped and
      compressed, and with all of them searched nothing is missed.
    - Within lists the longest codes that fit: `SQfp16` (no neighbours lost against float32 at half the memory, and
      quicker, which is why float32 is not among them), `SQ8` (recall of 0.99 at best), `SQ6` (0.98), `SQ4` (0.93),
      `PQ` with a byte for 4 dimensions (0.87), `OPQ` with a byte for 8 (0.78) or 16 (0.64). From SQ6 on, targets
      above these need rescoring (`IndexSpec.needs_rescoring`): among four times as many hits all codes but the last
      (0.93) keep 0.99 of the neighbours.

    The recall was measured for 10 neighbours among 20,000 sentence embeddings, with all lists searched.

    Raises:
        ConfigError: nothing fits; the message says what would.
    """
    fitting = None
    for factory in _recipes(rows, dimension, target_recall, binary):
        spec = IndexSpec(factory, similarity, dimension, binary)
        if spec.minimum_train_rows > rows:
            continue
        if spec.memory_bytes(rows) <= memory_bytes:
            return spec
        fitting = min(fitting or spec, spec, key=lambda each: each.memory_bytes(rows))
    least = f"{fitting.factory} takes {human_bytes(fitting.memory_bytes(rows))}" if fitting else "none can be trained"
    raise ConfigError(
        f"no index of {rows} vectors of {dimension} dimensions fits into {human_bytes(memory_bytes)}: {least}",
        "give it more memory, encode to fewer dimensions (--truncate-dim) or bits (--precision ubinary), "
        + ("or lower --target-recall below 1" if target_recall >= 1 else "or name a --factory of your own"),
    )


def _recipes(rows: int, dimension: int, target_recall: float, binary: bool) -> Iterator[str]:
    if rows <= EXACT_ROWS or target_recall >= 1:
        yield "BFlat" if binary else "Flat"
    if target_recall >= 1:
        return
    nlist = _lists(rows)
    lists = f"IVF{nlist}_HNSW32" if nlist >= _GRAPH_FROM else f"IVF{nlist}"
    if binary:
        yield f"B{lists}"
        return
    for codes in ("SQfp16", "SQ8", "SQ6", "SQ4"):
        yield f"{lists},{codes}"
    if dimension % 4 == 0:
        yield f"{lists},PQ{dimension // 4}"
    for together in (8, 16):
        if parts := dimension // together:
            # A rotation can leave out the few dimensions that make the rest a multiple.
            yield f"OPQ{parts}_{parts * together},{lists},PQ{parts}"


def _lists(rows: int) -> int:
    """A power of two, near 4 * sqrt(rows), but not of lists too short to train on."""
    near = 2 ** round(math.log2(max(1.0, 4 * math.sqrt(rows))))
    trainable = 2 ** int(math.log2(max(1, rows // _ROWS_PER_LIST)))
    return min(near, trainable, _MOST_LISTS)
