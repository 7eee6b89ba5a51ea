"""Pairs that are put together from separately tokenized texts are those that the tokenizer itself makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError, InputError, ModelError
from st_ray.models.batching import padded_batches
from st_ray.models.folder import ModelFolder
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.pair_tokenizer import PairTokenizer, longest_first
from st_ray.models.specs import ClassifierSpec
from st_ray.models.tokenizer import TextTokenizer
from tests.models.tiny_models import ODD_TEXTS, POSITIONS, TEXTS, read_json, save_tiny_classifier, write_json

WORDS = st.lists(st.sampled_from(["a", "cat", "the", "dogs", "x", "漢"]), max_size=60).map(" ".join)


@pytest.fixture(scope="module", params=["bert", "roberta", "llama", "left"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    left = request.param == "left"
    path = save_tiny_classifier(tmp_path_factory.mktemp("pairs"), "bert" if left else request.param)
    if left:
        settings = read_json(path / "tokenizer_config.json")
        write_json(path / "tokenizer_config.json", settings | {"truncation_side": "left"})
    return read_pair_folder(path).model


def check(tokenizer: PairTokenizer, texts: TextTokenizer, pairs: list[tuple[str, str]]) -> None:
    tokens = tokenizer.tokenize([first for first, _ in pairs], [second for _, second in pairs])
    expected = texts.encode_pairs(pairs)
    assert tokens.lengths.tolist() == [len(pair.ids) for pair in expected]
    assert tokens.highest_token >= max((max(pair.ids, default=0) for pair in expected), default=0)
    seen = []
    for batch in padded_batches(tokens, budget=100, fill=77):
        for row, ids, length, place in zip(batch.rows, batch.ids, batch.lengths, range(len(batch.rows)), strict=True):
            assert ids.tolist() == expected[row].ids + [77] * (batch.ids.shape[1] - length)
            types = np.zeros_like(ids) if batch.type_ids is None else batch.type_ids[place]
            assert types.tolist() == expected[row].types + [0] * (batch.ids.shape[1] - length)
            seen.append(int(row))
    assert sorted(seen) == list(range(len(pairs)))


@pytest.mark.parametrize("length", [None, 5, 6, 7, 20])
def test_real_texts(folder: ModelFolder, length: int | None) -> None:
    texts = TextTokenizer(folder, length)
    # Of two texts that are much too long the library makes all pairs of their pieces, which takes gigabytes.
    pairs = [(first[:300], second[:300]) for first in TEXTS for second in ODD_TEXTS if first or second]
    check(PairTokenizer(texts), texts, pairs)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(WORDS, WORDS), max_size=6), st.integers(4, POSITIONS))
def test_any_lengths(tokenizers: dict[int, TextTokenizer], pairs: list[tuple[str, str]], length: int) -> None:
    check(PairTokenizer(tokenizers[length]), tokenizers[length], pairs)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[int, TextTokenizer]:
    model = read_pair_folder(save_tiny_classifier(tmp_path_factory.mktemp("any"), "bert")).model
    return {length: TextTokenizer(model, length) for length in range(4, POSITIONS + 1)}


def test_texts_that_pairs_share_are_tokenized_once(tokenizers: dict[int, TextTokenizer]) -> None:
    tokenizer = PairTokenizer(tokenizers[12])
    shared = tokenizer.tokenize(["the cat", "a dog"], ["hello", "world ran"], [0, 0, 1], [1, 0, 1], prompt="x ")
    pairs = [("x the cat", "world ran"), ("x the cat", "hello"), ("x a dog", "world ran")]
    whole = tokenizer.tokenize(*map(list, zip(*pairs, strict=True)))
    for found, expected in zip(shared.padded(np.arange(3), 12, 0), whole.padded(np.arange(3), 12, 0), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(shared.first) == len(shared.second) == 2


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_longest_first_fits(first: int, second: int, room: int) -> None:
    kept = [int(values[0]) for values in longest_first(np.array([first]), np.array([second]), room)]
    assert sum(kept) == min(room, first + second)
    assert kept[0] <= first and kept[1] <= second
    # The shorter one is cut only once the longer one is no longer.
    if first + second > room:
        assert abs(kept[0] - kept[1]) <= 1 or kept[int(first > second)] == min(first, second)


def test_no_room(tmp_path: Path) -> None:
    model = read_pair_folder(save_tiny_classifier(tmp_path)).model
    assert PairTokenizer.of(model, max_length=4).tokenize(["a"], ["b"]).lengths.tolist() == [4]
    with pytest.raises(ConfigError, match="leaves no room beside the 3 special tokens"):
        PairTokenizer.of(model, max_length=3)


def test_a_text_that_is_none(folder: ModelFolder) -> None:
    with pytest.raises(InputError, match="text 1 is int"):
        PairTokenizer.of(folder).tokenize(["a", 7], ["b", "c"])  # type: ignore[list-item]


def test_a_tokenizer_written_in_python(tmp_path: Path) -> None:
    from tests.models.tiny_models import save_tiny_backbone

    model = ModelFolder(tmp_path, (ClassifierSpec(save_tiny_backbone(tmp_path, "byt5")),), {})
    with pytest.raises(ModelError, match="written in Python"):
        PairTokenizer.of(model)
