"""Communities: groups of rows around a centre that all of them are near to, after Sentence Transformers' algorithm.

Every row with enough neighbours is a candidate for a centre. Candidates are taken in falling order of the number of
their neighbours; one that belongs to no community yet founds one, of its neighbours that belong to none, if they are
enough. Two passes do it in memory that grows with the rows alone: the first only counts neighbours, the second lists
those of the candidates that no community has taken by the time it is their turn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from st_ray.mining.neighbourhoods import STRIP, Neighbourhoods, Rows, all_counts, neighbourhoods
from st_ray.models.progress import ProgressBar
from st_ray.scoring.similarity import Embeddings
from st_ray.scoring.tensors import is_dense, to_tensor

CENTRES = 256
"""Candidates whose neighbours are listed at a time."""
LISTED = 1 << 22
"""Neighbours that are listed at a time, at most, unless one candidate alone has more."""


def community_detection(
    embeddings: Embeddings,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool = False,
) -> list[list[int]]:
    """Groups of at least `min_community_size` rows that have a cosine of at least `threshold` with their centre.

    Cosines are sums in float64, rounded to float32, as the threshold is; that of a row of zeros is 0. Memory beside
    the embeddings grows with their number, not with that of the pairs above the threshold.

    Args:
        embeddings: `[n, d]`, or one `[d]`: a list, an array or a dense tensor; the work is done on its device.
        threshold: from -1 to 1.
        batch_size: rows that are scored at a time, 1,024 at most; it never changes the result.

    Returns:
        The communities, largest first, then in the order in which they were founded; of each the centre, then the
        other members, the nearest to the centre first, ties by smaller id. No row is in two.

    Raises:
        TypeError: embeddings that are no list, array or dense tensor of real numbers.
        ValueError: another shape, rows that are not finite, a threshold or a number out of range.
    """
    _check(threshold, min_community_size, batch_size)
    matrix = _matrix(embeddings)
    if len(matrix) < min_community_size:
        return []
    with ProgressBar(len(matrix), "row", show_progress_bar) as progress:
        rows = Rows.prepare(matrix)
        sizes = all_counts(rows, threshold, min(batch_size, STRIP), lambda done: progress.update(done, 0))
        found = greedy(sizes, min_community_size, lambda centres: neighbourhoods(rows.take(centres), rows, threshold))
        communities = [nearest_first(centre, members, rows.cosines) for centre, members in found]
    return sorted(communities, key=len, reverse=True)


def greedy(
    sizes: np.ndarray, min_community_size: int, neighbours: Callable[[np.ndarray], Neighbourhoods]
) -> list[tuple[int, np.ndarray]]:
    """Communities without overlap, in the order in which they are founded: centre, and members by rising id.

    Args:
        sizes: int64 `[n]`, neighbours of each row.
        neighbours: candidates, int64 `[m]` -> their neighbours; called with each row at most once, for `CENTRES` of
            them or `LISTED` neighbours at a time.
    """
    search, found = Greedy(sizes, min_community_size), []
    while search.decided < search.candidates:
        found += search.round(neighbours)
    return found


class Greedy:
    """The pass of `greedy`, a round at a time, so that it can be left and gone on with.

    Args:
        sizes: int64 `[n]`, neighbours of each row.

    Attributes:
        taken: bool `[n]`, rows that are in a community; they need not be listed any more.
        decided: candidates that have had their turn.
    """

    def __init__(self, sizes: np.ndarray, min_community_size: int) -> None:
        waiting = np.flatnonzero(sizes >= min_community_size)
        self._waiting = waiting[np.argsort(-sizes[waiting], kind="stable")]
        self._sizes, self._least = sizes, min_community_size
        self.taken = np.zeros(len(sizes), bool)
        self.decided = 0

    @property
    def candidates(self) -> int:
        """Rows that have enough neighbours."""
        return len(self._waiting)

    def go_on(self, decided: int, members: np.ndarray) -> None:
        """Take up what another pass had decided, and the rows that it had taken, int64 `[m]`."""
        self.taken[members] = True
        self.decided = decided

    def round(self, neighbours: Callable[[np.ndarray], Neighbourhoods]) -> list[tuple[int, np.ndarray]]:
        """The communities of the next candidates that no community has; see `greedy`."""
        left = self._waiting[self.decided :]
        places = np.flatnonzero(~self.taken[left])[:CENTRES]
        if not len(places):
            self.decided = self.candidates
            return []
        room = int(np.searchsorted(np.cumsum(self._sizes[left[places]]), LISTED, side="right"))
        places = places[: max(room, 1)]
        lists = neighbours(left[places])
        found = []
        for place, centre in enumerate(left[places].tolist()):
            members = lists[place]
            members = members[~self.taken[members]]
            if not self.taken[centre] and len(members) >= self._least:
                self.taken[members] = True
                found.append((centre, members))
        self.decided += int(places[-1]) + 1
        return found


def nearest_first(
    centre: int, members: np.ndarray, cosines: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> list[int]:
    """The centre, then the other members in falling order of their cosine with it, ties by smaller id.

    Args:
        members: int64 `[m]`.
        cosines: of pairs of ids, int64 `[m]` each: float32 `[m]`.
    """
    return members[nearest_order(centre, members, cosines(np.full_like(members, centre), members))].tolist()


def nearest_order(centre: int, members: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Places of `members`, int64 `[m]`: the centre's, then others in falling order of score, ties by smaller id."""
    return np.lexsort((members, -scores, members != centre))


def _check(threshold: float, min_community_size: int, batch_size: int) -> None:
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold must be a cosine, from -1 to 1, not {threshold}")
    for name, value in (("min_community_size", min_community_size), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")


def _matrix(embeddings: Embeddings) -> Tensor:
    if isinstance(embeddings, Tensor) and not is_dense(embeddings):
        raise TypeError(f"expected dense embeddings, not a {embeddings.layout} tensor; call its to_dense() first")
    matrix = to_tensor(embeddings).detach()
    if matrix.is_complex():
        raise TypeError(f"embeddings must be real numbers, not {matrix.dtype}")
    if matrix.dim() == 1 and len(matrix):
        return matrix[None]
    if len(matrix) and matrix.dim() != 2:
        raise ValueError(f"expected embeddings of shape [n, d], or one [d], not {tuple(matrix.shape)}")
    return matrix
