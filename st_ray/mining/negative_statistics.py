"""What came of mining: how scores are distributed, what was dropped and what is missing, and all of it as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from st_ray.mining.filters import Dropped
from st_ray.mining.formats import Mined, rows_wanted


@dataclass(frozen=True)
class Statistics:
    """Of some scores, computed in float64; NaN where there are too few.

    Attributes:
        std: with n - 1 in the denominator.
    """

    count: int
    mean: float
    median: float
    std: float
    least: float
    quarter: float
    half: float
    three_quarters: float
    greatest: float

    @classmethod
    def of(cls, scores: np.ndarray) -> Statistics:
        """Of float32 `[m]`, any number of them."""
        values = scores.astype(np.float64)
        if not len(values):
            return cls(0, *[float("nan")] * 8)
        least, quarter, half, three_quarters, greatest = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
        std = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        return cls(len(values), float(values.mean()), half, std, least, quarter, half, three_quarters, greatest)


@dataclass(frozen=True)
class Report:
    """The figures of one run.

    Attributes:
        positives: scores of the positive pairs.
        negatives: scores of the negatives, once for each positive of their query.
        differences: positive score less negative score.
        candidates: how many there were before any filter.
        dropped: what the filters took away, in their order.
        wanted: rows that the table would have if every query had all its negatives.
        missing: rows that it therefore lacks.
    """

    positives: Statistics
    negatives: Statistics
    differences: Statistics
    candidates: int
    dropped: tuple[Dropped, ...]
    wanted: int
    missing: int


def report_of(mined: Mined, output_format: str, rows: int, candidates: int, dropped: Sequence[Dropped]) -> Report:
    """The figures of a table of `rows` rows, whose negatives are left of `candidates`."""
    positives, negatives, differences = map(Statistics.of, shown_scores(mined, output_format))
    wanted = rows_wanted(mined, output_format)
    return Report(positives, negatives, differences, candidates, tuple(dropped), wanted, wanted - rows)


def shown_scores(mined: Mined, output_format: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of positives, of negatives, and their differences, as they stand in the table: float32 each."""
    shown = mined.complete() if output_format == "n-tuple" else mined
    pair, negative = shown.triplets()
    positive, scores = mined.positive_scores[pair], shown.negatives.scores[negative]
    return mined.positive_scores, scores, positive - scores


def render(report: Report) -> str:
    """The report as lines of text."""
    return "\n".join([*_table(report), *_drops(report), *_shortage(report)])


_LINES = ("Count", "Mean", "Median", "Std", "Min", "25%", "50%", "75%", "Max")


def _table(report: Report) -> list[str]:
    columns = [astuple(part) for part in (report.positives, report.negatives, report.differences)]
    lines = [_row("Metric", "Positive", "Negative", "Difference")]
    for name, positive, negative, difference in zip(_LINES, *columns, strict=True):
        if name == "Count":
            lines.append(_row(name, f"{positive:,}", f"{negative:,}", ""))
        else:
            lines.append(_row(name, *(f"{value:.4f}" for value in (positive, negative, difference))))
    return lines


def _row(name: str, *cells: str) -> str:
    return f"{name:<6} " + " ".join(f"{cell:>14}" for cell in cells)


def _drops(report: Report) -> list[str]:
    return [
        f"Skipped {part.count:,} potential negatives ({part.count / report.candidates:.2%}) due to the {part.name} of "
        f"{part.value}."
        for part in report.dropped
        if part.count
    ]


def _shortage(report: Report) -> list[str]:
    if report.missing <= 0:
        return []
    names = ["range_max", *(part.name for part in report.dropped)]
    return [
        f"Could not find enough negatives for {report.missing:,} samples ({report.missing / report.wanted:.2%}). "
        f"Consider adjusting the {_listed(names)} parameter{'s' if len(names) > 1 else ''} for more of them."
    ]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
