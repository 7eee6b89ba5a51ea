"""Token ids by looking words up: texts are cut at spaces, and each distinct word is tokenized once.

For BERT's tokenizers alone (WordPiece behind BERT's normalizer and pre-tokenizer): of a text they make what they make
of the words between its spaces, one after the other. Most words of a corpus are the same few thousand, so looking them
up takes a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from st_ray.models.tokens import gather_ragged, joined

# Words are forgotten, all at once, where there are more than this, or more characters in them.
_MOST_WORDS, _MOST_CHARACTERS = 1 << 18, 1 << 23
# Characters a word, above which texts are not in words that come again: scripts without spaces, digests, addresses.
_LONG_WORDS = 24
# Share of words that are new, above which keeping them does not pay either.
_MOST_NEW = 0.5
# Of a text that loses its end, as many characters for each token that it keeps are looked at first.
_CHARACTERS_A_TOKEN = 8


class WordTokens:
    """The words that a tokenizer has met, and their ids; threads may share it.

    Args:
        tokenizer: one that `cuts_at_spaces`, of the tokenizers library; is left as it is.
        split_special_tokens: whether the names of special tokens are text like any other.
    """

    def __init__(self, tokenizer: Any, split_special_tokens: bool = False) -> None:
        self._tokenizer = _bare(tokenizer)
        self._tokenizer.encode_special_tokens = split_special_tokens
        self._lock = Lock()
        self._known = _Words()

    def ids(self, texts: Sequence[str], most: int | None = None) -> tuple[np.ndarray, np.ndarray] | None:
        """Ids of all texts, one text behind the other, and how many each has: int32 `[tokens]` and int32 `[n]`.

        Args:
            texts: strings.
            most: as many ids, from its beginning, are enough of each text; it may have more.

        Returns:
            None where the texts are not in words that are worth keeping.

        Raises:
            TypeError, AttributeError, UnicodeEncodeError: a text is no string or holds half a surrogate pair.
        """
        heads = texts if most is None else [_head(text, most * _CHARACTERS_A_TOKEN) for text in texts]
        words = " ".join(heads).split(" ") if heads else []
        if sum(map(len, words)) > _LONG_WORDS * len(words):
            return None
        with self._lock:
            found = self._looked_up(words)
        if found is None:
            return None
        flat, lengths_of_words = found
        ends = np.cumsum([head.count(" ") + 1 for head in heads], dtype=np.int64)
        behind = np.concatenate([[0], np.cumsum(lengths_of_words, dtype=np.int64)])
        lengths = np.diff(behind[ends], prepend=0).astype(np.int32)
        cut = [len(head) < len(text) for head, text in zip(heads, texts, strict=True)]
        # Few characters of a text may be tokens, by way of exception.
        return self.ids(texts) if most is not None and (lengths[cut] < most).any() else (flat, lengths)

    def _looked_up(self, words: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """Ids of all words, one word behind the other, and how many each has."""
        known = self._known
        try:
            numbers = np.fromiter(map(known.numbers.__getitem__, words), np.int32, len(words))
            new = known.numbers.taken_new()
            if len(new) > _MOST_NEW * len(words):
                for word in new:
                    del known.numbers[word]
                return None
            if new:
                known.learn(new, [encoding.ids for encoding in self._tokenizer.encode_batch_fast(new)])
        except BaseException:
            self._known = _Words()
            raise
        if len(known.numbers) > _MOST_WORDS or known.characters > _MOST_CHARACTERS:
            self._known = _Words()
        lengths = known.lengths[numbers]
        return gather_ragged(known.flat, known.starts[numbers], lengths), lengths


class _Numbers(dict[str, int]):
    """Words, numbered as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._new: list[str] = []

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        self._new.append(word)
        return number

    def taken_new(self) -> list[str]:
        """Those that came since this was asked for last."""
        new, self._new = self._new, []
        return new


@dataclass
class _Words:
    """Words and their ids: word i has `flat[starts[i] : starts[i] + lengths[i]]`."""

    numbers: _Numbers = field(default_factory=_Numbers)
    flat: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    starts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    characters: int = 0

    def learn(self, words: list[str], ids: list[list[int]]) -> None:
        """Add the words that were numbered last."""
        flat, lengths = joined(ids)
        ends = len(self.flat) + np.cumsum(lengths, dtype=np.int64)
        self.flat = np.concatenate([self.flat, flat])
        self.starts = np.concatenate([self.starts, ends - lengths])
        self.lengths = np.concatenate([self.lengths, lengths])
        self.characters += sum(map(len, words))


def cuts_at_spaces(tokenizer: Any) -> bool:
    """Whether the ids of a text, special tokens apart, are those of the words between its spaces."""
    from tokenizers import models, normalizers, pre_tokenizers

    normalizer: Any = tokenizer.normalizer
    chained = type(normalizer) is normalizers.Sequence
    steps = list(normalizer) if chained else [normalizer]
    return (
        isinstance(tokenizer.model, models.WordPiece)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and all(isinstance(step, normalizers.BertNormalizer | normalizers.Lowercase) for step in steps)
        and not any(" " in token.content for token in tokenizer.get_added_tokens_decoder().values())
    )


def _bare(tokenizer: Any) -> Any:
    """The same without special tokens, truncation and padding."""
    from tokenizers import Tokenizer

    made = Tokenizer(tokenizer.model)
    made.normalizer, made.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    for _, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        (made.add_special_tokens if token.special else made.add_tokens)([token])
    return made


def _head(text: str, characters: int) -> str:
    """Whole words of the text, from its beginning, that have about as many characters together."""
    if len(text) <= characters:
        return text
    if not text.isascii():
        text.encode()  # raises where there is half a surrogate pair
    end = text.find(" ", characters)
    return text if end < 0 else text[:end]
