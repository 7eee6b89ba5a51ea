"""Tuples of a query, a positive and negatives as pairs for losses that take one label a pair."""

from __future__ import annotations

import numpy as np


def pairs_of_tuples(
    repeated: np.ndarray, negatives: int, negatives_per_positive: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs n neighbouring tuples make, their labels being 1 for the positive and 0 for negatives.

    Every negative makes a pair, in order. A positive stands before the negatives that it is taken with:

    - by default once a run of neighbouring tuples that have the same query and positive. MS MARCO's triples repeat the
      positive for each of its negatives, which would make as many positive pairs as negative ones;
    - with `negatives_per_positive` N once for each N negatives, that of the tuple which the first of the N is in. This
      is the ratio of Sentence Transformers' recipe for MS MARCO (1 positive to 4 negatives), which takes the positive
      of every fifth triple and the negative of the others; so it holds where the triples are shuffled, too.

    Args:
        repeated: bool `[n]`, whether a tuple has the query and the positive of the one before.
        negatives: of a tuple.

    Returns:
        The tuple of each pair, int64 `[p]`, and which of its texts stands beside the query, int64 `[p]`: 0 is the
        positive, others are negatives from 1 on.
    """
    every = np.arange(len(repeated) * negatives)
    if negatives_per_positive is None:
        begun = np.flatnonzero(~np.asarray(repeated, bool)) * negatives
    else:
        begun = every[::negatives_per_positive]
    # Place 2 g is for a positive before the negative g, and 2 g + 1 for that negative.
    places = np.sort(np.concatenate([2 * begun, 2 * every + 1]))
    negative = places // 2
    return negative // negatives, np.where(places % 2 == 0, 0, 1 + negative % negatives)
