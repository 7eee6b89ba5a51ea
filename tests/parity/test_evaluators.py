"""Evaluators of cross-encoders give the figures and the files of their peers, from the same scores.

The six of sentence-transformers 3.4.1 are held to what 3.4.1 itself gave, recorded by `make peer-evaluators`; the
three successors to the release that is installed. What is deliberately otherwise: 3.4.1 swaps gold and predicted
labels, which its weighted F1 alone shows, so scikit-learn's figure in the right order is expected there; `REFUSED`
cases are errors; and a list of fewer than two documents, of which scikit-learn takes no nDCG, is judged all the same.
"""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.cross_encoder import evaluation as peers
from sklearn.metrics import f1_score

from st_ray.core.errors import StRayError
from st_ray.evaluation import evaluators, successors
from tests.conftest import ROOT
from tests.parity.evaluator_cases import OF_3_4_1, OF_6_2, Case, lists_of, on_pairs, on_samples, pairs_of
from tests.parity.evaluator_runs import KnownScores, Outcome, build, parameters_of, play, play_peer
from tests.parity.record_evaluators import RECORDED, VERSION

OF_THE_PEER = json.loads(RECORDED.read_text(encoding="utf-8"))
PEER_PYTHON = ROOT / ".peers" / f"sentence-transformers-{VERSION}" / "bin" / "python"
SUCCESSORS = [
    "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator",
    "CrossEncoderRerankingEvaluator",
]
WEIGHTED = "Weighted F1 score"
REFUSED = {name for name in [*OF_3_4_1, *OF_6_2] if name.endswith(" no number")}
"""Cases in which a peer gives a figure that means nothing."""


def assert_same_figures(found: list[float], expected: list[float], tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def assert_same_value(found: Any, expected: Any, tolerance: float) -> None:
    """A figure, or figures by name in the same order."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    else:
        found, expected = [found], [expected]
    assert all(isinstance(figure, float) for figure in found)
    assert_same_figures(found, expected, tolerance)


def assert_same_file(found: str, expected: str, tolerance: float) -> None:
    """The same header and line ends, to the byte; epochs and steps as they are written; all else as numbers."""
    assert found.count("\n") == found.count("\r") == found.count("\r\n")
    rows, expected_rows = found.split("\r\n"), expected.split("\r\n")
    assert len(rows) == len(expected_rows)
    assert (rows[0], rows[-1]) == (expected_rows[0], expected_rows[-1])
    for row, expected_row in zip(rows[1:-1], expected_rows[1:-1], strict=True):
        cells, expected_cells = row.split(","), expected_row.split(",")
        assert cells[:2] == expected_cells[:2]
        assert_same_figures(list(map(float, cells[2:])), list(map(float, expected_cells[2:])), tolerance)


def assert_same_outcome(found: Outcome, expected: Outcome, tolerance: float = 1e-9) -> None:
    assert len(found["values"]) == len(expected["values"])
    for value, expected_value in zip(found["values"], expected["values"], strict=True):
        assert_same_value(value, expected_value, tolerance)
    assert list(found["files"]) == list(expected["files"])
    for name, text in found["files"].items():
        assert_same_file(text, expected["files"][name], tolerance)
    assert found.get("primary_metric") == expected.get("primary_metric", found.get("primary_metric"))


def assert_as_peer(ours: ModuleType, case: Case, folder: Path, expected: Outcome) -> None:
    """The same outcome, in a folder that does not exist yet; or an error where the peer raises one, and no file."""
    evaluator_class, folder = getattr(ours, case.evaluator), folder / "not" / "yet"
    if "raises" not in expected:
        assert_same_outcome(play(evaluator_class, case, folder), expected)
        return
    with pytest.raises((StRayError, getattr(builtins, expected["raises"], StRayError))):
        play(evaluator_class, case, folder)
    assert not list(folder.rglob("*"))


def assert_same_parameters(found: list[list[str]], expected: list[list[str]]) -> None:
    """Those of the peer, in its order and with its defaults; more only where they change nothing."""
    names = [name for name, *_ in expected]
    assert [one for one in found if one[0] in names] == expected
    for name, kind, default in found:
        assert name in names or (kind == "KEYWORD_ONLY" and default != "<class 'inspect._empty'>")


def with_right_weights(case: Case, outcome: Outcome) -> Outcome:
    """The outcome with scikit-learn's weighted F1 of gold and predicted labels, where the peer swapped the two."""
    if case.evaluator != "CEF1Evaluator" or "raises" in outcome:
        return outcome
    files = {}
    for name, text in outcome["files"].items():
        header, *rows = text.splitlines(keepends=True)
        if WEIGHTED in header:
            for number, call in enumerate(case.calls):
                right = f1_score(case.arguments["labels"], call.scores.argmax(axis=1), average="weighted")
                rows[number] = f"{rows[number].rpartition(',')[0]},{float(right)!r}\r\n"
        files[name] = header + "".join(rows)
    return {**outcome, "files": files}


# ---- 3.4.1 ----------------------------------------------------------------------------------------------------------


def test_every_case_is_recorded() -> None:
    assert list(OF_THE_PEER["outcomes"]) == list(OF_3_4_1), "run `make peer-evaluators`"


@pytest.mark.parametrize("name", OF_3_4_1)
def test_results_of_3_4_1(name: str, tmp_path: Path) -> None:
    case = OF_3_4_1[name]
    expected = with_right_weights(case, OF_THE_PEER["outcomes"][name])
    assert_as_peer(evaluators, case, tmp_path, {"raises": "InputError"} if name in REFUSED else expected)


def test_weighted_f1_differs_as_it_should() -> None:
    changed = [
        name
        for name, case in OF_3_4_1.items()
        for outcome in [OF_THE_PEER["outcomes"][name]]
        if with_right_weights(case, outcome) != outcome
    ]
    assert "CEF1Evaluator: three" in changed
    assert all(WEIGHTED in text for name in changed for text in OF_THE_PEER["outcomes"][name]["files"].values())


@pytest.mark.parametrize("name", OF_THE_PEER["parameters"])
def test_parameters_of_3_4_1(name: str) -> None:
    built, called = OF_THE_PEER["parameters"][name]
    ours = getattr(evaluators, name)
    assert_same_parameters(parameters_of(ours), built)
    assert_same_parameters(parameters_of(ours.__call__), called)


@pytest.mark.parametrize("evaluator", OF_THE_PEER["parameters"])
def test_a_file_of_the_peer_goes_on(evaluator: str, tmp_path: Path) -> None:
    case, recorded = (of[f"{evaluator}: three epochs"] for of in (OF_3_4_1, OF_THE_PEER["outcomes"]))
    ((file, text),) = recorded["files"].items()
    (tmp_path / file).write_bytes(text.encode())
    found = play(getattr(evaluators, evaluator), case, tmp_path)["files"]
    assert list(found) == [file]
    assert found[file].startswith(text)
    header = text.partition("\r\n")[0] + "\r\n"
    assert_same_file(header + found[file].removeprefix(text), with_right_weights(case, recorded)["files"][file], 1e-9)


def test_without_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for evaluator in OF_THE_PEER["parameters"]:
        case = OF_3_4_1[f"{evaluator}: three epochs"]
        value = build(getattr(evaluators, evaluator), case)(KnownScores(case.pairs, case.calls[0].scores))
        assert_same_value(value, OF_THE_PEER["outcomes"][f"{evaluator}: three epochs"]["values"][0], 1e-9)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not PEER_PYTHON.exists(), reason=f"no {PEER_PYTHON.relative_to(ROOT)}; `make peer-evaluators`")
def test_what_is_recorded_is_what_3_4_1_gives(tmp_path: Path) -> None:
    command = [str(PEER_PYTHON), "-m", "tests.parity.record_evaluators", "--output", str(tmp_path / "again.json")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"})
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert again["parameters"] == OF_THE_PEER["parameters"]
    assert list(again["outcomes"]) == list(OF_THE_PEER["outcomes"])
    for name, outcome in again["outcomes"].items():
        expected = OF_THE_PEER["outcomes"][name]
        if "raises" in expected:
            assert outcome == expected, name
        else:
            assert_same_outcome(outcome, expected, 1e-12)


# ---- 6.2 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_6_2)
def test_results_of_6_2(name: str, tmp_path: Path) -> None:
    case = OF_6_2[name]
    expected = play_peer(getattr(peers, case.evaluator), case, tmp_path / "peer")
    assert_as_peer(successors, case, tmp_path, {"raises": "InputError"} if name in REFUSED else expected)


@pytest.mark.parametrize(("documents", "base"), [(["a"], 1.0), ([], 0.0)])
def test_lists_that_6_2_cannot_judge(documents: list[str], base: float, tmp_path: Path) -> None:
    samples = [{"query": "q", "positive": ["a"], "documents": documents}]
    case = on_samples("CrossEncoderRerankingEvaluator", samples, np.ones(1, np.float32))
    assert "raises" in play_peer(peers.CrossEncoderRerankingEvaluator, case, tmp_path / "peer")
    (found,) = play(successors.CrossEncoderRerankingEvaluator, case, tmp_path / "ours")["values"]
    assert list(found.values()) == [1.0] * 3 + [base] * 3


@pytest.mark.parametrize("name", SUCCESSORS)
def test_parameters_of_6_2(name: str) -> None:
    ours, peer = getattr(successors, name), getattr(peers, name)
    assert_same_parameters(parameters_of(ours), parameters_of(peer))
    assert_same_parameters(parameters_of(ours.__call__), parameters_of(peer.__call__))


@pytest.mark.parametrize("name", SUCCESSORS)
def test_how_the_model_is_asked(name: str) -> None:
    case = OF_6_2[f"{name}: ordinary"]
    asked = []
    for module in (successors, peers):
        model = KnownScores(case.pairs, case.calls[0].scores)
        getattr(module, name)(**case.arguments, prompt_name="find", batch_size=7)(model)
        asked.append({option: model.options[option] for option in ("prompt_name", "batch_size")})
    assert asked[0] == asked[1] == {"prompt_name": "find", "batch_size": 7}


def assert_as_6_2(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected = play_peer(getattr(peers, case.evaluator), case, Path(folder) / "peer")
        assert_as_peer(successors, case, Path(folder), expected)


SCORES = st.sampled_from([-1.5, -0.0, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(-9, 9, width=32)
ROWS = st.lists(st.tuples(SCORES, st.integers(0, 1)), min_size=1, max_size=16)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ROWS, st.sampled_from([np.float32, np.float64]))
def test_any_binary_rows_of_6_2(rows: list[tuple[float, int]], dtype: Any) -> None:
    scores, labels = zip(*rows, strict=True)
    assert_as_6_2(on_pairs("CrossEncoderClassificationEvaluator", list(labels), np.array(scores, dtype)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=5), st.data())
def test_any_lists_of_6_2(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    samples = lists_of(*sizes)
    count = len(pairs_of(samples))
    scores = np.array(data.draw(st.lists(SCORES, min_size=count, max_size=count)), np.float32)
    at_k = data.draw(st.integers(1, 12))
    assert_as_6_2(on_samples("CrossEncoderRerankingEvaluator", samples, scores, at_k=at_k))
