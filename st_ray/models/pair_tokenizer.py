"""Pairs of texts to token ids: every distinct text is tokenized once, and a pair is put together when its batch is.

What stands between and around the two texts, and how a pair that is too long is cut, is the tokenizer's own choice; it
is found out when the tokenizer is built, and checked against what the tokenizer itself makes of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models.folder import ModelFolder
from st_ray.models.tokenizer import PairEncoding, TextTokenizer
from st_ray.models.tokens import BareTexts


@dataclass(frozen=True)
class PairTemplate:
    """What a pair is made of: special tokens, the first text, special tokens, the second text, special tokens.

    Attributes:
        specials: the token ids that stand before, between and behind the texts.
        types: type ids of the five pieces: specials, first text, specials, second text, specials.
    """

    specials: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    types: tuple[int, int, int, int, int]

    @property
    def added(self) -> int:
        """How many special tokens a pair has."""
        return sum(map(len, self.specials))


@dataclass(frozen=True)
class TokenizedPairs:
    """n pairs of tokenized texts.

    Attributes:
        first: the distinct first texts.
        second: the distinct second texts, likewise.
        first_of: int32 `[n]`, which first text a pair has.
        second_of: int32 `[n]`, which second text.
        template: what is put around them.
        max_length: tokens of a pair at most, special ones included; None where nothing bounds them.
        from_right: whether texts that are too long lose their ends, not their beginnings.
    """

    first: BareTexts
    second: BareTexts
    first_of: np.ndarray
    second_of: np.ndarray
    template: PairTemplate
    max_length: int | None
    from_right: bool = True

    prompt_length = 0

    def __len__(self) -> int:
        return len(self.first_of)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each pair, special ones included, int32 `[n]`."""
        first, second = self._kept
        return (first + second + self.template.added).astype(np.int32)

    @property
    def highest_token(self) -> int:
        """The greatest token id; 0 where there are none."""
        return max(self._flat.max(initial=0), 0)

    def padded(self, rows: np.ndarray, width: int, fill: int) -> tuple[np.ndarray, np.ndarray | None]:
        """See `TokenizedTexts.padded`."""
        template = self.template
        before, between, behind = (np.full(len(rows), len(ids)) for ids in template.specials)
        pieces = np.stack([before, self._kept[0][rows], between, self._kept[1][rows], behind], axis=1)
        ends = np.cumsum(pieces, axis=1)
        columns = np.arange(width)
        # Which of the pieces a place belongs to; 5 for padding.
        piece = (columns[:, None] >= ends[:, None, :]).sum(axis=2)
        shift = np.zeros((len(rows), 6), np.int64)
        shift[:, :5] = self._starts(rows) - (ends - pieces)
        places = np.take_along_axis(shift, piece, axis=1) + columns
        ids = np.where(piece < 5, self._flat[np.clip(places, 0, len(self._flat) - 1)], fill).astype(np.int64)
        types = np.array([*template.types, 0], np.int64)
        return ids, types[piece] if types.any() else None

    @cached_property
    def _kept(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens that each pair keeps of its texts, int64 `[n]` each."""
        lengths = self.first.lengths[self.first_of], self.second.lengths[self.second_of]
        room = None if self.max_length is None else self.max_length - self.template.added
        return longest_first(lengths[0].astype(np.int64), lengths[1].astype(np.int64), room)

    @cached_property
    def _flat(self) -> np.ndarray:
        """All tokens that pairs are made of: special ones, first texts, second texts, and one to point at if none."""
        specials = [np.array(ids, np.int32) for ids in self.template.specials]
        return np.concatenate([*specials, self.first.flat, self.second.flat, np.zeros(1, np.int32)])

    def _starts(self, rows: np.ndarray) -> np.ndarray:
        """Where in `_flat` the five pieces of each row begin, int64 `[rows, 5]`."""
        at = np.cumsum([0, *map(len, self.template.specials), len(self.first.flat)])
        starts = [np.full(len(rows), at[number]) for number in range(3)]
        for number, (texts, of) in enumerate(((self.first, self.first_of), (self.second, self.second_of))):
            # Cut at the beginning, a text's last tokens stay.
            back = texts.kept[of[rows]] if self.from_right else self._kept[number][rows]
            starts.insert(2 * number + 1, at[3 + number] + texts.ends[of[rows]] - back)
        return np.stack(starts, axis=1)


def longest_first(first: np.ndarray, second: np.ndarray, room: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that are kept of two texts so that both fit into `room`: the longer one is cut until they are equal.

    The rule of the tokenizers library's `longest_first`; where both are cut and `room` is odd, the longer one keeps one
    token more (the second, if they are equal).
    """
    if room is None:
        return first, second
    short, long = np.minimum(first, second), np.maximum(first, second)
    rest = np.where(short > room, short, np.maximum(short, room - short))
    both = short + rest > room
    short_kept = np.where(both, room // 2, short)
    long_kept = np.minimum(long, np.where(both, room // 2 + room % 2, rest))
    swapped = first > second
    return np.where(swapped, long_kept, short_kept), np.where(swapped, short_kept, long_kept)


class PairTokenizer:
    """The tokenizer of a cross-encoder.

    Attributes:
        max_length: tokens of a pair at most, special ones included; None where there is no limit.
    """

    def __init__(self, texts: TextTokenizer) -> None:
        """Wrap a folder's tokenizer.

        Raises:
            ConfigError: `max_length` leaves no room for texts.
            ModelError: the tokenizer puts pairs together in a way that is not known.
        """
        self.max_length = texts.max_seq_length
        self._texts = texts
        self._template = _template(texts)
        if self.max_length is not None and self.max_length <= self._template.added:
            raise ConfigError(
                f"max_length {self.max_length} leaves no room beside the {self._template.added} special tokens",
                "give a larger one",
            )
        self._check()

    @classmethod
    def of(cls, folder: ModelFolder, max_length: int | None = None, trust_remote_code: bool = False) -> PairTokenizer:
        """The tokenizer of `folder`."""
        return cls(TextTokenizer(folder, max_length, trust_remote_code))

    def tokenize(
        self,
        first: Sequence[str],
        second: Sequence[str],
        first_of: np.ndarray | None = None,
        second_of: np.ndarray | None = None,
        prompt: str = "",
    ) -> TokenizedPairs:
        """Tokens of pairs, longer ones cut to `max_length`.

        Args:
            first: distinct first texts.
            second: distinct second texts.
            first_of: which first text each pair has, int `[n]`; None for the pairs (0, 0), (1, 1), …
            second_of: which second text.
            prompt: put before every first text.

        Raises:
            InputError: a text is no string or holds half a surrogate pair; its position is named.
        """
        every = np.arange(len(first), dtype=np.int32)
        return TokenizedPairs(
            self._texts.tokenize_bare(first, prompt),
            self._texts.tokenize_bare(second),
            every if first_of is None else np.asarray(first_of, np.int32),
            every if second_of is None else np.asarray(second_of, np.int32),
            self._template,
            self.max_length,
            self._texts.from_right,
        )

    def _check(self) -> None:
        """Raise ModelError where the tokenizer itself makes something else of a pair."""
        # Not much longer than need be: of two texts that are both cut, the library makes all pairs of their pieces.
        long = self.max_length or 8
        probes = [("a", "b"), ("the cat sat", "a dog ran, hello world!"), ("a", ""), ("", "b")]
        probes += [("a " * long, "b c"), ("a b", "c " * long), ("a " * long, "b " * (long + 1))]
        pairs = self.tokenize([first for first, _ in probes], [second for _, second in probes])
        for row, pair in enumerate(self._texts.encode_pairs(probes)):
            ids, types = pairs.padded(np.array([row]), int(pairs.lengths[row]), 0)
            types = np.zeros_like(ids) if types is None else types
            if ids[0].tolist() != pair.ids or types[0].tolist() != pair.types:
                raise _unknown_way(pair)


def _template(texts: TextTokenizer) -> PairTemplate:
    """How the tokenizer joins two texts, by what it makes of one pair."""
    (pair,) = texts.encode_pairs([("a", "b")], cut=False)
    runs = [(text, [place for place, _ in places]) for text, places in groupby(enumerate(pair.texts), itemgetter(1))]
    pieces = {text: places for text, places in runs if text is not None}
    if list(pieces) != [0, 1] or len(pieces) != sum(text is not None for text, _ in runs):
        raise _unknown_way(pair)
    cuts = [0, pieces[0][0], pieces[0][-1] + 1, pieces[1][0], pieces[1][-1] + 1, len(pair.ids)]
    types = [pair.types[low] if low < high else 0 for low, high in pairwise(cuts)]
    before, between, behind = (tuple(pair.ids[cuts[start] : cuts[start + 1]]) for start in (0, 2, 4))
    return PairTemplate((before, between, behind), (types[0], types[1], types[2], types[3], types[4]))


def _unknown_way(pair: PairEncoding) -> ModelError:
    return ModelError(
        f"the tokenizer joins pairs of texts in a way that is not supported (tokens {pair.ids[:12]} …)",
        "use a model whose tokenizer puts special tokens around and between two texts",
    )
