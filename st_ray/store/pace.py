"""How fast rows are committed, by the times of the commits alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LATELY = 20
"""Commits, or a tenth of them where that is more, that the recent rate is taken over."""


@dataclass(frozen=True)
class Pace:
    """Rates in rows a second; None where there are too few commits to tell.

    Attributes:
        recent: between the last commits.
        overall: of the last run, from its start to its last commit.
        last: when the last commit was, in seconds since the epoch; None where none has a time.
    """

    recent: float | None = None
    overall: float | None = None
    last: float | None = None


def pace_of(moments: Sequence[tuple[float, int]], began: float | None) -> Pace:
    """The pace of commits.

    Args:
        moments: of each commit its time in seconds since the epoch, 0 where it is not known, and its rows.
        began: when the last run began, whose commits alone count; None for all of them, from the first one on.
    """
    timed = sorted(moment for moment in moments if moment[0] > 0)
    ours = [moment for moment in timed if began is None or moment[0] >= began]
    lately = max(_LATELY, len(ours) // 10)
    return Pace(
        recent=_rate(ours[-lately - 1 :]),
        overall=_rate(ours if began is None else [(began, 0), *ours]),
        last=timed[-1][0] if timed else None,
    )


def _rate(moments: Sequence[tuple[float, int]]) -> float | None:
    """The rows of the first moment were done before it."""
    if len(moments) < 2 or moments[-1][0] <= moments[0][0]:
        return None
    return sum(rows for _, rows in moments[1:]) / (moments[-1][0] - moments[0][0])
