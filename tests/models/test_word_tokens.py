"""Looked up word by word, texts have the ids that the tokenizer gives them as a whole."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from st_ray.models import word_tokens
from st_ray.models.word_tokens import WordTokens, cuts_at_spaces
from tests.models.tiny_models import LETTERS, ODD_TEXTS, SPECIAL, VOCABULARY, WORDS

ACCENTED = ("é", "##é", "ß", "##ß", "σ", "##σ", "ς", "##ς", "漢", "字", "##1", "1", "##\u0301", "'", "-")
SPACES = ("  ", "\t", "\n", "\u00a0", "\u3000", "\x1f", "\x85")
PIECES = (*SPECIAL, *LETTERS, *WORDS, *SPACES, "\u0301", "É", "ΑΣ", "Σ", "İ")
TEXT = st.lists(st.one_of(st.sampled_from(PIECES), st.just(" "), st.characters(exclude_categories=["Cs"]))).map("".join)


def word_piece(lowercase: bool = True, accents: bool | None = None, added: tuple[AddedToken, ...] = ()) -> Tokenizer:
    vocabulary = {piece: number for number, piece in enumerate((*VOCABULARY, *ACCENTED))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=20))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=accents)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(list(SPECIAL))
    made.add_tokens(list(added))
    return made


MARKED = AddedToken("<mark>", single_word=True, lstrip=True, rstrip=True, normalized=True)
TOKENIZERS = {
    "uncased": word_piece(),
    "cased": word_piece(lowercase=False),
    "accents kept": word_piece(accents=False),
    "lower-cased before": word_piece(lowercase=False),
    "tokens added": word_piece(added=(MARKED, AddedToken("cat-dog", normalized=False))),
}
TOKENIZERS["lower-cased before"].normalizer = normalizers.Sequence(
    [normalizers.Lowercase(), TOKENIZERS["lower-cased before"].normalizer]
)


def rows(found: tuple[np.ndarray, np.ndarray] | None) -> list[list[int]]:
    assert found is not None
    flat, lengths = found
    assert flat.dtype == lengths.dtype == np.int32
    assert len(flat) == lengths.sum()
    return [row.tolist() for row in np.split(flat, np.cumsum(lengths)[:-1])] if len(lengths) else []


def whole(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.fixture(autouse=True)
def _keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_tokens, "_MOST_NEW", 1.0)
    monkeypatch.setattr(word_tokens, "_LONG_WORDS", 10**9)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(data=st.data())
def test_texts_have_the_ids_of_their_words(name: str, data: Any) -> None:
    tokenizer = TOKENIZERS[name]
    assert cuts_at_spaces(tokenizer)
    ours = WordTokens(tokenizer)
    extra = st.sampled_from(["<mark>", "cat-dog", "un<mark>", *ODD_TEXTS])
    for texts in data.draw(st.lists(st.lists(TEXT | extra, min_size=1), max_size=3)):
        assert rows(ours.ids(texts)) == whole(tokenizer, texts)


@pytest.mark.parametrize("most", [0, 1, 2, 5])
@settings(deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(["a", "", "cat", "bcd", "\x00" * 40, "\t"])).map(" ".join), min_size=1))
def test_long_texts_are_read_as_far_as_need_be(most: int, texts: list[str]) -> None:
    tokenizer = TOKENIZERS["uncased"]
    found = rows(WordTokens(tokenizer).ids(texts, most))
    for row, expected in zip(found, whole(tokenizer, texts), strict=True):
        assert row[:most] == expected[:most]
        assert len(row) <= len(expected)


def test_the_end_of_a_long_text_is_not_tokenized() -> None:
    ours = WordTokens(TOKENIZERS["uncased"])
    (found,) = rows(ours.ids(["cat " * 1000], 10))
    assert 10 <= len(found) < 30
    with pytest.raises(UnicodeEncodeError):
        ours.ids(["cat " * 1000 + "\ud800"], 10)


def test_names_of_special_tokens_are_text_where_they_are_to_be_split() -> None:
    tokenizer = word_piece()
    tokenizer.encode_special_tokens = True
    assert rows(WordTokens(tokenizer, True).ids(["a [SEP] b"])) == whole(tokenizer, ["a [SEP] b"])
    assert rows(WordTokens(tokenizer).ids(["[SEP]"])) == [[SPECIAL.index("[SEP]")]]


@pytest.mark.parametrize("limit", ["_MOST_WORDS", "_MOST_CHARACTERS"])
def test_words_are_forgotten_where_there_are_too_many(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_tokens, limit, 50)
    tokenizer = TOKENIZERS["uncased"]
    ours = WordTokens(tokenizer)
    for letter in LETTERS:
        texts = [" ".join(f"{letter}{other}" for other in LETTERS[:9]), "the cat"]
        assert rows(ours.ids(texts)) == whole(tokenizer, texts)
        assert len(ours._known.numbers if limit == "_MOST_WORDS" else "".join(ours._known.numbers)) <= 50


def test_what_would_not_come_again_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = WordTokens(TOKENIZERS["uncased"])
    known = ["the cat sat", "the dog sat"]
    assert ours.ids(known) is not None
    kept = dict(ours._known.numbers)
    monkeypatch.setattr(word_tokens, "_MOST_NEW", 0.5)
    monkeypatch.setattr(word_tokens, "_LONG_WORDS", 24)
    assert ours.ids(["one two three the"]) is None
    assert ours.ids(["漢字かな交じり文" * 10]) is None
    assert ours._known.numbers == kept
    assert rows(ours.ids(known)) == whole(TOKENIZERS["uncased"], known)


def test_a_bad_text_leaves_nothing_behind() -> None:
    ours = WordTokens(TOKENIZERS["uncased"])
    for bad in ("half \ud800 pair", None, b"bytes"):
        with pytest.raises((UnicodeEncodeError, TypeError, AttributeError)):
            ours.ids(["the cat", bad])  # type: ignore[list-item]
    assert rows(ours.ids(["half the cat"])) == whole(TOKENIZERS["uncased"], ["half the cat"])


def test_no_texts() -> None:
    assert rows(WordTokens(TOKENIZERS["uncased"]).ids([])) == []


def test_other_tokenizers_are_left_alone() -> None:
    assert not cuts_at_spaces(Tokenizer(models.BPE()))
    plain = word_piece()
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    assert not cuts_at_spaces(plain)
    unnormalized = word_piece()
    unnormalized.normalizer = normalizers.Replace("a b", "c")
    assert not cuts_at_spaces(unnormalized)
    assert not cuts_at_spaces(word_piece(added=(AddedToken("the cat"),)))


def test_a_tokenizer_travels_without_its_words(minilm: str) -> None:
    from st_ray.models.folder import read_model_folder
    from st_ray.models.source import resolve_model
    from st_ray.models.tokenizer import TextTokenizer

    tokenizer = TextTokenizer(read_model_folder(resolve_model(minilm)))
    before = len(pickle.dumps(tokenizer))
    first = tokenizer.tokenize(["the cat sat on the mat, and the cat sat"] * 4)
    assert tokenizer._words is not None
    assert len(tokenizer._words._known.numbers) == 6
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert len(pickle.dumps(tokenizer)) < before + 100
    assert copy.tokenize(["the cat sat on the mat, and the cat sat"] * 4).flat.tolist() == first.flat.tolist()


@pytest.mark.parametrize("direction", ["left", "right"])
def test_a_static_model_whose_own_file_cuts_texts(direction: str, tmp_path: Path) -> None:
    from st_ray.models.folder import read_model_folder
    from st_ray.models.tokenizer import TextTokenizer
    from tests.models.tiny_models import save_tiny_static

    folder = save_tiny_static(tmp_path / "static")
    (file,) = folder.rglob("tokenizer.json")
    tokenizer = word_piece()
    tokenizer.enable_truncation(3, direction=direction)
    tokenizer.save(str(file))
    ours = TextTokenizer(read_model_folder(folder))
    texts = ["the cat sat the dog ran", "a b", "the cat sat the dog ran"]
    found = ours.tokenize(texts)
    assert ours._words is not None
    assert rows((found.flat, found.lengths)) == whole(tokenizer, texts)
    assert ours._words._known.numbers
