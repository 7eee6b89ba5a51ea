"""`mine_hard_negatives` beside the peer's: the same rows, in the same order, where each query has one positive."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import util as peer

import st_ray
from st_ray.mining.formats import FORMATS
from tests.conftest import DATA
from tests.mining.stub_models import StubCrossEncoder, StubModel
from tests.models.tiny_models import save_tiny_classifier, save_tiny_model
from tests.parity.compare import peer_model

ATOL = 2e-6


def pairs_of(count: int, first: int = 0) -> Dataset:
    numbers = range(first, first + count)
    return Dataset.from_dict({"ask": [f"question {i}" for i in numbers], "text": [f"answer {i}" for i in numbers]})


def assert_same(ours: Dataset, theirs: Dataset) -> None:
    assert ours.column_names == theirs.column_names
    assert len(ours) == len(theirs)
    if len(theirs):  # without rows, the peer's columns have no types
        assert ours.features == theirs.features
    for name in ours.column_names:
        found, expected = list(ours[name]), list(theirs[name])
        if name.startswith("score"):
            np.testing.assert_allclose(np.hstack([[], *found]), np.hstack([[], *expected]), rtol=0, atol=ATOL)
        else:
            assert found == expected, name


def both(dataset: Dataset, model: Any, peers_model: Any = None, **options: Any) -> tuple[Dataset, Dataset]:
    options = {"verbose": False, **options}
    return (
        st_ray.mine_hard_negatives(dataset, model, **options),
        peer.mine_hard_negatives(dataset, peers_model or model, **options),
    )


@pytest.fixture(scope="module", autouse=True)
def no_bars() -> Iterator[None]:
    """The peer draws them whatever it is asked."""
    patch = pytest.MonkeyPatch()
    patch.setattr("sentence_transformers.util.hard_negatives.trange", lambda *args, desc: range(*args))
    patch.setattr("sentence_transformers.util.hard_negatives.tqdm", lambda rows, **_: rows)
    yield
    patch.undo()


OPTIONAL = {
    "max_score": st.sampled_from([0.2, 0.5, 0.9]),
    "min_score": st.sampled_from([-0.1, 0.1, 0.4]),
    "absolute_margin": st.sampled_from([0.0, 0.1, 0.3]),
    "relative_margin": st.sampled_from([0.0, 0.05, 0.4]),
    "range_max": st.sampled_from([4, 9, 40, 100]),
}


@settings(deadline=None, max_examples=150)
@given(
    count=st.sampled_from([2, 7, 50]),
    first=st.integers(0, 20),
    noise=st.sampled_from([0.3, 1.0, 3.0]),
    similarity=st.sampled_from(["cosine", "dot", "euclidean", "manhattan"]),
    chosen=st.fixed_dictionaries({}, optional=OPTIONAL),
    crossed=st.booleans(),
    separate=st.booleans(),
    output_format=st.sampled_from(FORMATS),
    num_negatives=st.integers(1, 4),
    output_scores=st.booleans(),
    use_faiss=st.booleans(),
    faiss_batch_size=st.sampled_from([1, 6, 16384]),
)
def test_every_filter_and_format(
    count: int,
    first: int,
    noise: float,
    similarity: str,
    chosen: dict[str, Any],
    crossed: bool,
    separate: bool,
    use_faiss: bool,
    **options: Any,
) -> None:
    if similarity in ("euclidean", "manhattan") and not crossed:
        chosen = {name: value if name == "range_max" or "margin" in name else -value for name, value in chosen.items()}
    if separate:
        options["corpus"] = [f"{word} {i}" for i in range(5, 45) for word in ("story", "answer", "story")]
    if crossed and len(chosen.keys() - {"range_max"}):
        options["cross_encoder"] = StubCrossEncoder()
    use_faiss = use_faiss and similarity in ("cosine", "dot")  # its scores are those of neither distance
    dataset, model = pairs_of(count, first), StubModel(similarity, noise)
    try:
        found = both(dataset, model, use_faiss=use_faiss, **chosen, **options)
    except ZeroDivisionError:  # the peer's, where margins leave nothing for min_score
        options["output_format"] = "triplet"
        assert not len(st_ray.mine_hard_negatives(dataset, model, verbose=False, **chosen, **options))
    else:
        assert_same(*found)


@settings(deadline=None, max_examples=30)
@given(
    range_min=st.integers(0, 12),
    num_negatives=st.integers(1, 4),
    range_max=st.sampled_from([None, 16, 60]),
    crossed=st.booleans(),
    include_positives=st.booleans(),
)
def test_ranks_where_nothing_is_dropped(crossed: bool, **options: Any) -> None:
    if crossed:
        options.update(cross_encoder=StubCrossEncoder(), min_score=-9)
    options.update(output_format="n-tuple", output_scores=True)
    assert_same(*both(pairs_of(40), StubModel(), **options))


def test_prompts_columns_and_older_names() -> None:
    dataset = pairs_of(30).add_column("more", ["x"] * 30).select_columns(["more", "text", "ask"])
    names = {"anchor_column_name": "ask", "positive_column_name": "text"}
    for options in (
        {"query_prompt": "Q: ", "corpus_prompt": "P: "},
        {"query_prompt_name": "query", "corpus_prompt_name": "passage"},
        {"as_triplets": False, "margin": 0.1},
        {"as_triplets": True},
        {"output_format": "n-tuple-scores"},
        {"include_positives": True, "output_format": "triplet"},
    ):
        older = options.keys() & {"as_triplets", "output_format"}
        with pytest.warns(Warning) if older else contextlib.nullcontext():
            ours = st_ray.mine_hard_negatives(dataset, StubModel(), verbose=False, **names, **options)
        assert_same(ours, peer.mine_hard_negatives(dataset, StubModel(), verbose=False, **names, **options))


def test_the_printed_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Line for line, but for what is said otherwise on purpose."""
    options = {"max_score": 0.5, "relative_margin": 0.1, "output_format": "n-tuple"}
    st_ray.mine_hard_negatives(pairs_of(51), StubModel(), **options)
    ours = capsys.readouterr().out.splitlines()
    peer.mine_hard_negatives(pairs_of(51), StubModel(), **options)
    theirs = capsys.readouterr().out.splitlines()
    ours, theirs = ([line.split() for line in lines] for lines in (ours, theirs))
    begins, peers_begins = (lines.index(["Metric", "Positive", "Negative", "Difference"]) for lines in (ours, theirs))
    assert ours[:begins] == theirs[:peers_begins][:begins]
    table, peers_table = ours[begins : begins + 10], theirs[peers_begins : peers_begins + 10]
    # The peer's median of an even number of scores is the lower one of the two in the middle.
    assert [line for line in table if line[0] != "Median"] == [line for line in peers_table if line[0] != "Median"]
    assert table[3][1:] == table[7][1:] and table[7][0] == "50%"


def test_models_and_cross_encoders_of_both(tmp_path: Path) -> None:
    """Real ones, if tiny; ours takes the peer's too. The model has prompts of its own."""
    from sentence_transformers import CrossEncoder

    folder = save_tiny_model(tmp_path / "model", prompts={"query": "ask ", "document": "say "})
    classifier = save_tiny_classifier(tmp_path / "classifier")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 30))) for _ in range(60)]
    dataset = Dataset.from_dict({"anchor": words[:30], "positive": words[30:]})
    theirs = peer_model(folder), CrossEncoder(str(classifier), device="cpu")
    ours = st_ray.BiEncoder(folder, device="cpu"), st_ray.CrossEncoder(classifier, device="cpu")
    options = {"output_scores": True, "num_negatives": 4, "min_score": 0.1, "verbose": False}
    expected = peer.mine_hard_negatives(dataset, theirs[0], cross_encoder=theirs[1], **options)
    for model, cross_encoder in (ours, theirs):
        assert_same(st_ray.mine_hard_negatives(dataset, model, cross_encoder=cross_encoder, **options), expected)


@pytest.fixture(scope="module")
def cranfield() -> Dataset:
    file = DATA / "cranfield" / "corpus.jsonl"
    if not file.exists():
        pytest.skip(f"{file} is not at hand")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = {row["title"]: row["text"].removeprefix(row["title"]).strip() for row in rows}
    return Dataset.from_dict(
        {
            "title": [title for title, text in pairs.items() if title and text],
            "abstract": [text for title, text in pairs.items() if title and text],
        }
    ).select(range(120))


@pytest.fixture(scope="module")
def models(minilm: str) -> tuple[Any, Any]:
    from st_ray.models.source import resolve_model

    class Remembering:
        """Encodes each list of texts once, and does all else as the model does."""

        def __init__(self, model: Any) -> None:
            self._model = model
            self._known: dict[Any, Any] = {}

        def __getattr__(self, name: str) -> Any:
            return getattr(self._model, name)

        def _encode(self, name: str, texts: list[str], **options: Any) -> Any:
            key = tuple(texts), options.get("prompt")
            if key not in self._known:
                options["show_progress_bar"] = False
                self._known[key] = getattr(self._model, name)(texts, **options)
            return self._known[key]

        def encode_query(self, texts: list[str], **options: Any) -> Any:
            return self._encode("encode_query", texts, **options)

        def encode_document(self, texts: list[str], **options: Any) -> Any:
            return self._encode("encode_document", texts, **options)

    return (
        Remembering(st_ray.BiEncoder(minilm, device="cpu")),
        Remembering(peer_model(resolve_model(minilm))),
    )


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("output_format", FORMATS)
def test_titles_and_abstracts(cranfield: Dataset, models: tuple[Any, Any], output_format: str, crossed: bool) -> None:
    for filters in (
        {"relative_margin": 0.05},
        {"absolute_margin": 0.1, "max_score": 0.5, "num_negatives": 5},
        {"min_score": 0.2, "range_max": 20},
        {"max_score": 0.4, "min_score": 0.1, "relative_margin": 0.2, "absolute_margin": 0.0, "range_max": 1000},
    ):
        more = {"cross_encoder": StubCrossEncoder(), "range_max": 20} if crossed else {}
        found = both(cranfield, *models, output_format=output_format, output_scores=True, **{**filters, **more})
        assert_same(*found)
        assert len(found[0])
