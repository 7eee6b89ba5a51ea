"""Pictures of an evaluation: the same bytes each time, whatever the scores, and true to the figures they show."""

from __future__ import annotations

import logging
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_recall_curve

from st_ray.evaluation.plots import confusion, predicted_by_gold, query_values, scores_by_label
from st_ray.evaluation.threshold_plots import _Cuts, _wilson, calibration, f1_by_threshold, precision_recall

pytestmark = pytest.mark.filterwarnings("error")
SVG = "{http://www.w3.org/2000/svg}"
NAN = float("nan")


def labelled(n: int, seed: int = 0, share: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `[n]` float32 that tell the labels `[n]` apart fairly well."""
    random = np.random.default_rng(seed)
    labels = (random.random(n) < share).astype(np.int64)
    scores = 1 / (1 + np.exp(-(3 * labels - 1.5 + random.normal(size=n))))
    return scores.astype(np.float32), labels


CASES: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "one row": (np.array([0.7], np.float32), np.array([1])),
    "one row of label 0": (np.array([0.0]), np.array([0])),
    "all scores equal": (np.full(50, 0.1, np.float32), np.arange(50) % 2),
    "equal but for rounding": (np.array([0.1, 0.1 + 2e-17, 0.3 - 0.2]), np.array([0, 1, 1])),
    "no label 1": (labelled(60)[0], np.zeros(60, np.int64)),
    "no label 0": (labelled(60)[0], np.ones(60, np.int64)),
    "ties": (labelled(500)[0].round(1), labelled(500)[1]),
    "no scores but the ends": (np.array([0.0, 1, 1, 0]), np.array([0, 1, 0, 1])),
    "65,536 rows": labelled(65_536),
}
PICTURES: dict[str, Callable[[np.ndarray, np.ndarray], bytes]] = {
    "precision_recall": lambda scores, labels: precision_recall(scores, labels, NAN, (0.0, 0.0)),
    "scores_by_label": scores_by_label,
    "f1_by_threshold": lambda scores, labels: f1_by_threshold(scores, labels, (-1.0, 0.0)),
    "calibration": calibration,
    "predicted_by_gold": lambda scores, labels: predicted_by_gold(scores, labels, NAN, NAN),
    "query_values": lambda scores, labels: query_values({"MRR@10": scores, "AP": labels}),
    "confusion": lambda scores, labels: confusion(np.diag(np.bincount(labels, minlength=3)), ["a", "b", "c"]),
}


def texts(picture: bytes) -> str:
    return "\n".join(element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text"))


def line(picture: bytes, color: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y `[p]` of the points of the first line of a color; the corners of the first axes are (0, 0), (1, 1)."""
    paths = list(ET.fromstring(picture).iter(f"{SVG}path"))
    of_axes = [path for path in paths if path.get("style") == "fill: #ffffff"][1]
    in_color = [path for path in paths if f"stroke: {color.lower()}" in path.get("style", "") and path.get("clip-path")]
    (x0, y0), *_, (x1, y1) = sorted(points(of_axes).tolist())
    x, y = points(in_color[0]).T
    return (x - x0) / (x1 - x0), (max(y0, y1) - y) / abs(y1 - y0)


def points(path: ET.Element) -> np.ndarray:
    """`[p, 2]`: where the strokes of a path of straight lines end; those without length left out."""
    ends = np.array([pair.split() for pair in re.findall(r"[ML] (\S+ \S+)", path.attrib["d"])], np.float64)
    return ends[np.append(True, (np.diff(ends, axis=0) != 0).any(axis=1))]


def area(x: np.ndarray, y: np.ndarray) -> float:
    """Below a line of steps."""
    return float(np.diff(x) @ (y[1:] + y[:-1]) / 2)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", PICTURES)
def test_any_scores(name: str, case: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    scores, labels = CASES[case]
    with caplog.at_level(logging.WARNING):
        picture = PICTURES[name](scores, labels)
    assert picture == PICTURES[name](scores.copy(), labels.copy())
    assert (*capfd.readouterr(), caplog.records) == ("", "", [])
    root = ET.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    values = [value for element in root.iter() for key, value in element.attrib.items() if not key.endswith("href")]
    assert not re.search(r"\b(nan|inf)\b", " ".join(values), re.IGNORECASE)
    assert len(picture) < 600_000
    # Every picture has an axis with numbers or names, a title or a label of an axis, and something drawn.
    assert len(texts(picture).split("\n")) > 5
    assert any(path.get("clip-path") for path in root.iter()) or next(root.iter(f"{SVG}image"), None) is not None


@pytest.mark.parametrize("name", PICTURES)
def test_float_types_agree(name: str) -> None:
    scores, labels = labelled(300)
    assert PICTURES[name](scores, labels) == PICTURES[name](
        scores.astype(np.float64), labels.astype(np.float32).astype(int)
    )


@pytest.mark.parametrize("decimals", [1, 6])
def test_cuts_are_those_of_the_peer(decimals: int) -> None:
    scores, labels = labelled(400)
    scores = scores.astype(np.float64).round(decimals)
    cuts = _Cuts.of(scores, labels)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    np.testing.assert_array_equal(cuts.thresholds, thresholds)
    np.testing.assert_allclose(cuts.precision, precision[:-1], rtol=1e-12)
    np.testing.assert_allclose(cuts.recall, recall[:-1], rtol=1e-12)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    np.testing.assert_allclose(cuts.f1, f1[:-1], rtol=1e-9)


@pytest.mark.parametrize("share", [0.005, 0.3, 0.9])
@pytest.mark.parametrize("n", [40, 65_536])
def test_the_area_below_is_the_average_precision(n: int, share: float) -> None:
    scores, labels = labelled(n, share=share)
    labels[0] = 1
    expected = average_precision_score(labels, scores)
    picture = precision_recall(scores, labels, expected, (0.25, 0.75))
    x, y = line(picture, "#0072B2")
    assert len(x) <= 2001
    assert (x[0], x[-1]) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert 1.02 * area(x, y) == pytest.approx(expected, abs=0.003)
    assert f"average precision {expected:.4f}" in texts(picture)
    assert f"chance: {labels.mean():.3f} have label 1" in texts(picture)
    assert "best F1 0.375: precision 0.750, recall 0.250" in texts(picture)


def test_ties_are_one_step() -> None:
    """Two scores: all of the higher are 1 of 2 right, then 2 of 4."""
    x, y = line(precision_recall(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1, 0, 0, 1]), 0.5), "#0072B2")
    np.testing.assert_allclose(1.02 * y, 0.5, atol=1e-6)
    x, y = line(precision_recall(np.array([0.9, 0.8, 0.1, 0.1]), np.array([1, 0, 0, 1]), 0.75), "#0072B2")
    np.testing.assert_allclose(np.transpose([x, 1.02 * y]), [(0, 1), (0.5, 1), (0.5, 0.5), (1, 0.5)], atol=1e-6)


def test_no_label_1_is_said() -> None:
    picture = precision_recall(np.array([0.5, 0.6]), np.array([0, 0]), NAN)
    assert "no pair has label 1" in texts(picture)
    assert "average precision undefined" in texts(picture)


def test_the_highest_f1_is_drawn_where_it_is() -> None:
    scores, labels = labelled(65_536)
    cuts = _Cuts.of(scores, labels)
    best = int(cuts.f1.argmax())
    picture = f1_by_threshold(scores, labels, (cuts.thresholds[best], cuts.f1[best]))
    x, y = line(picture, "#0072B2")
    assert len(x) <= 2001
    assert 1.02 * y.max() == pytest.approx(cuts.f1[best], abs=1e-3)
    low, high = scores.min(), scores.max()
    at = (low - 0.04 * (high - low)) + x[y.argmax()] * 1.08 * (high - low)
    assert at == pytest.approx(cuts.thresholds[best], abs=0.01)
    assert f"best F1 {cuts.f1[best]:.4f} at threshold {cuts.thresholds[best]:.4g}" in texts(picture)


def test_f1_falls_to_0_above_the_highest_score() -> None:
    x, y = line(f1_by_threshold(np.array([0.5, 1.5]), np.array([0, 1])), "#0072B2")
    edges = [0, 0.04 / 1.08, 1.04 / 1.08, 1]
    expected = [(edges[0], 2 / 3), (edges[1], 2 / 3), (edges[1], 1), (edges[2], 1), (edges[2], 0), (edges[3], 0)]
    np.testing.assert_allclose(np.transpose([x, 1.02 * y]), expected, atol=1e-6)


def test_a_threshold_outside_the_scores_is_in_view() -> None:
    picture = f1_by_threshold(np.array([5.0]), np.array([1]), (-1.0, 0.0))
    x, _ = line(picture, "#666666")
    np.testing.assert_allclose(x, 0.04 / 1.08, atol=1e-6)


def test_calibration() -> None:
    """Two bins: 4 pairs of 0.25 with one of label 1, and 2 pairs of 1 with none."""
    picture = calibration(np.array([0.25] * 4 + [1.0] * 2), np.array([0, 1, 0, 0, 0, 0]))
    assert "expected calibration error 0.3333" in texts(picture)
    x, y = line(picture, "#0072B2")
    np.testing.assert_allclose(x, [0.25, 0.25])  # the interval of the first bin
    low, high = binomtest(1, 4).proportion_ci(method="wilson")
    np.testing.assert_allclose((1.04 * y - 0.02), [low, high], atol=1e-5)
    assert {"4", "2"} <= set(texts(picture).split("\n"))


def test_calibration_error_of_many() -> None:
    scores, labels = labelled(5000)
    error = 0.0
    for begin in np.arange(10):
        inside = np.floor(np.minimum(scores.astype(np.float64), 0.99999) * 10) == begin
        error += abs(labels[inside].sum() - scores[inside].sum(dtype=np.float64)) / 5000
    assert f"expected calibration error {error:.4f}" in texts(calibration(scores, labels))


@pytest.mark.parametrize("wrong", [-0.001, 1.001, NAN])
def test_calibration_is_of_probabilities(wrong: float) -> None:
    with pytest.raises(ValueError, match="are no probabilities"):
        calibration(np.array([0.5, wrong], np.float32), np.array([0, 1]))


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 10), (3, 10), (997, 1000)])
def test_intervals_are_wilsons(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    found = _wilson(np.array([successes / trials]), np.array([trials]))
    np.testing.assert_allclose(np.ravel(found), [expected.low, expected.high], atol=1e-6)


def test_the_five_most_frequent_labels_and_the_others() -> None:
    counts = {7: 10, 1: 2, 2: 30, 3: 3, 4: 30, 5: 11, 6: 12, 0: 1}
    labels = np.repeat(list(counts), list(counts.values()))
    scores = np.random.default_rng(0).normal(size=len(labels))
    legend = [text for text in texts(scores_by_label(scores, labels)).split("\n") if ": " in text]
    assert legend == [f"label {name}: {counts[name]}" for name in (2, 4, 5, 6, 7)] + ["all others: 6"]
    few = labels > 3
    legend = [text for text in texts(scores_by_label(scores[few], labels[few])).split("\n") if ": " in text]
    assert legend == [f"label {name}: {counts[name]}" for name in (4, 5, 6, 7)]


def test_labels_are_names() -> None:
    labels = np.array(["<b>", "$x$", "$x$"])
    shown = texts(scores_by_label(np.array([0.1, 0.2, 0.2]), labels))
    assert "label <b>: 1" in shown
    assert "label $x$: 2" in shown


@pytest.mark.parametrize(("n", "points"), [(2000, True), (2001, False)])
def test_many_pairs_are_counted(n: int, points: bool) -> None:
    scores, _ = labelled(n)
    golds = (5 * scores).round(1)
    picture = predicted_by_gold(scores, golds, 0.9, 0.8)
    drawn = [use for use in ET.fromstring(picture).iter(f"{SVG}use") if "#0072b2" in use.get("style", "")]
    assert len(drawn) == (2001 if points else 0)  # with that of the legend
    assert ("10" in texts(picture).split("\n")) != points  # of the scale of counts
    assert "Pearson 0.9000, Spearman 0.8000" in texts(picture)


def test_means_by_gold() -> None:
    """Of few gold values each has its own mean."""
    golds = np.repeat([0.0, 1.0, 5.0], 3)
    picture = predicted_by_gold(np.array([0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0]), golds, 1, 1)
    x, y = line(picture, "#D55E00")
    np.testing.assert_allclose((x - x[0]) / (x[-1] - x[0]), [0, 0.2, 1], atol=1e-5)
    np.testing.assert_allclose((y - y[0]) / (y[-1] - y[0]), [0, 0.5, 1], atol=1e-5)


def test_correlations_may_be_undefined() -> None:
    assert "Pearson undefined, Spearman undefined" in texts(predicted_by_gold(np.ones(3), np.arange(3), NAN, NAN))


@pytest.mark.parametrize("metrics", [1, 3, 4])
def test_values_by_query(metrics: int) -> None:
    values = {f"metric {at}": np.array([0, 1, at / 10], np.float32) for at in range(metrics)}
    shown = texts(query_values(values)).split("\n")
    for at in range(metrics):
        assert shown.count(f"metric {at}") == 1
        assert f"mean {(1 + at / 10) / 3:.4f}" in shown


def test_confusion_has_counts_and_names() -> None:
    matrix = np.array([[1234, 5, 0], [0, 0, 0], [7, 8, 9]])
    shown = texts(confusion(matrix, ["<b>", "neutral", "a very long name of a class"])).split("\n")
    assert {"1,234", "5", "7", "8", "9"} <= set(shown)
    assert {"<b>", "neutral", "a very lon…f a class"} <= set(shown)


@pytest.mark.parametrize(("names", "angle"), [(["no", "yes"], 0), (["contradiction", "entailment", "neutral"], 45)])
def test_long_names_are_slanted(names: list[str], angle: int) -> None:
    below, left = (
        element for element in ET.fromstring(confusion(np.eye(len(names), dtype=int), names)).iter(f"{SVG}text")
        if element.text == names[0]
    )  # fmt: skip
    assert below.attrib["transform"].startswith(f"rotate(-{angle} ")
    assert left.attrib["transform"].startswith("rotate(-0 ")


@pytest.mark.parametrize("classes", [1, 2, 20, 21, 200])
def test_confusion_of_many_classes(classes: int) -> None:
    matrix = np.full((classes, classes), 12_321)
    picture = confusion(matrix, [f"class {at}" for at in range(classes)])
    shown = texts(picture).split("\n")
    counts = shown.count("12,321") + shown.count("12321")
    assert counts == (classes**2 if classes <= 20 else 0)
    assert 2 <= sum(text.startswith("class ") for text in shown) <= 40
    assert len(picture) < 200_000
