"""Texts to token ids, as the model folder prescribes, without padding and without torch tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from st_ray.core.errors import ConfigError, InputError, ModelError
from st_ray.models.folder import ModelFolder
from st_ray.models.loading import LOADING
from st_ray.models.specs import StaticEmbeddingSpec, TransformerSpec
from st_ray.models.tokens import BareTexts, TokenizedTexts, gather_ragged, joined
from st_ray.models.word_tokens import WordTokens, cuts_at_spaces

_T = TypeVar("_T")

# Texts handed to the tokenizer at once: what it returns takes far more memory than the ids.
_TEXTS_AT_ONCE = 2048
_STATE = (
    "max_seq_length",
    "from_right",
    "_add_special_tokens",
    "_split_special_tokens",
    "_has_type_ids",
    "_takes_type_ids",
)


@dataclass(frozen=True)
class PairEncoding:
    """One pair, as a tokenizer encodes it: token ids, type ids, and which text a token is of (None: special)."""

    ids: list[int]
    types: list[int]
    texts: list[int | None]


class TextTokenizer:
    """The tokenizer of a model folder.

    Building one imports the transformers library, which takes seconds; a built one can be written as text and read
    without it (except for the few tokenizers that are written in Python).

    Attributes:
        max_seq_length: tokens a text is cut to, special tokens included; None where there is no limit.
        from_right: whether a text that is too long loses its end, not its beginning.
    """

    def __init__(self, folder: ModelFolder, max_seq_length: int | None = None, trust_remote_code: bool = False) -> None:
        if max_seq_length is not None and max_seq_length < 1:
            raise ConfigError(f"max_seq_length is {max_seq_length}", "give a number of tokens above zero")
        self._special_ids: frozenset[int] = frozenset()
        self._python: Any = None
        self._add_special_tokens = self._split_special_tokens = self._has_type_ids = False
        first = folder.first
        if isinstance(first, StaticEmbeddingSpec):
            self._fast = _static_tokenizer(first)
            side = (self._fast.truncation or {}).get("direction", "right")
        else:
            with LOADING:
                tokenizer = _pretrained_tokenizer(first, trust_remote_code)
                side = tokenizer.truncation_side
                max_seq_length = max_seq_length or _default_length(first, tokenizer, trust_remote_code)
                self._adopt(tokenizer)
        self.max_seq_length = max_seq_length
        if self._fast is not None and max_seq_length is not None:
            self._truncate(max_seq_length, side)
        self.from_right = side == "right"
        self._takes_type_ids = self._has_type_ids
        self._has_type_ids = self._has_type_ids and self._uses_type_ids()
        self._prompt_lengths: dict[str, int] = {}

    def to_json(self) -> str | None:
        """All of it as text for `from_json`; None for one that is written in Python."""
        if self._fast is None:
            return None
        state = {name: getattr(self, name) for name in _STATE} | {"_special_ids": sorted(self._special_ids)}
        return json.dumps(state | {"_fast": self._fast.to_str()})

    @classmethod
    def from_json(cls, text: str) -> TextTokenizer:
        """The tokenizer that `to_json` wrote; needs no transformers library."""
        from tokenizers import Tokenizer

        state = json.loads(text)
        made = cls.__new__(cls)
        for name in _STATE:
            setattr(made, name, state[name])
        made._special_ids = frozenset(state["_special_ids"])
        made._fast = Tokenizer.from_str(state["_fast"])
        made._python = None
        made._prompt_lengths = {}
        return made

    def tokenize(self, texts: Sequence[str], prompt: str = "") -> TokenizedTexts:
        """Tokens of `prompt + text` for each text, cut to `max_seq_length`.

        Raises:
            InputError: a text is no string or holds half a surrogate pair; its position is named.
        """
        if isinstance(texts, str):
            raise InputError("tokenize got one string, expected a sequence of them", "put the text in a list")
        flats, lengths, types = [np.empty(0, np.int32)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for flat, lengths_of_block, type_ids in self._in_blocks(self._whole, texts, prompt):
            flats.append(flat)
            lengths.append(lengths_of_block)
            types.append(type_ids)
        return TokenizedTexts(
            flat=np.concatenate(flats),
            lengths=np.concatenate(lengths),
            prompt_length=self._prompt_length(prompt),
            type_ids=np.concatenate(types) if self._has_type_ids else None,
        )

    def tokenize_bare(self, texts: Sequence[str], prompt: str = "") -> BareTexts:
        """Tokens of `prompt + text` for each text without special tokens: the halves of pairs.

        Raises:
            InputError: a text is no string or holds half a surrogate pair; its position is named.
            ModelError: the tokenizer is written in Python, and cannot take pairs apart.
        """
        flats, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for flat, lengths_of_block in self._in_blocks(self._bare, texts, prompt):
            flats.append(gather_ragged(flat, *self._kept(lengths_of_block, self.max_seq_length)))
            lengths.append(lengths_of_block)
        return BareTexts(np.concatenate(flats), np.concatenate(lengths), self.max_seq_length)

    def encode_pairs(self, pairs: Sequence[tuple[str, str]], *, cut: bool = True) -> list[PairEncoding]:
        """What the tokenizer makes of whole pairs, cut to `max_seq_length` or not.

        Raises:
            ModelError: the tokenizer is written in Python.
        """
        with nullcontext() if cut else self._without_cutting():
            self._fast.encode_special_tokens = self._split_special_tokens
            made = self._fast.encode_batch(list(pairs), add_special_tokens=True)
        return [
            PairEncoding(pair.ids, pair.type_ids if self._takes_type_ids else [0] * len(pair.ids), pair.sequence_ids)
            for pair in made
        ]

    @contextmanager
    def _without_cutting(self) -> Iterator[None]:
        if self._fast is None:
            raise ModelError(
                "the model's tokenizer is written in Python, and cannot take pairs apart",
                "use a model with a fast tokenizer (tokenizer.json)",
            )
        truncation = self._fast.truncation
        self._fast.no_truncation()
        try:
            yield
        finally:
            if truncation is not None:
                self._fast.enable_truncation(**truncation)

    def __getstate__(self) -> dict[str, Any]:
        """All but the words that were met."""
        return {name: value for name, value in self.__dict__.items() if name != "_words"}

    @cached_property
    def _words(self) -> WordTokens | None:
        """What looks words up, where that gives what the tokenizer gives."""
        looks_up = self._fast is not None and not self._has_type_ids and cuts_at_spaces(self._fast)
        return WordTokens(self._fast, self._split_special_tokens) if looks_up else None

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """The special tokens before and behind a text."""
        encoding = self._fast.encode("a", add_special_tokens=self._add_special_tokens)
        own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        return encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]

    def _in_blocks(self, encode: Callable[[list[str]], _T], texts: Sequence[str], prompt: str) -> Iterator[_T]:
        """What `encode` makes of a few texts at a time."""
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            block = texts[start : start + _TEXTS_AT_ONCE]
            try:
                encoded = encode([prompt + text for text in block] if prompt else list(block))
            except (TypeError, AttributeError, ValueError) as error:  # among them errors of Unicode
                raise _bad_text(block, start, error) from error
            yield encoded

    def _whole(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids of all texts, cut and with special tokens, how many each has, and their type ids."""
        if self._words is not None:
            before, behind = self._frame
            cut = self._fast.truncation
            room = cut["max_length"] - len(before) - len(behind) if cut else None
            found = self._words.ids(texts, room if self.from_right else None)
            if found is not None:
                flat, lengths = found
                starts, kept = self._kept(lengths, room)
                return _framed(before, flat, starts, kept, behind)
        ids, types = self._encode_block(texts)
        return *joined(ids), joined(types)[0]

    def _bare(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts, uncut and without special tokens, and how many each has."""
        found = self._words.ids(texts) if self._words is not None else None
        if found is not None:
            return found
        with self._without_cutting():
            return joined(self._encode_block(texts, bare=True)[0])

    def _kept(self, lengths: np.ndarray, most: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Where the part that is kept of each text begins, and its length; texts lie one behind the other."""
        ends = np.cumsum(lengths, dtype=np.int64)
        kept = lengths if most is None else np.minimum(lengths, most)
        return ends - (lengths if self.from_right else kept), kept

    def _encode_block(self, texts: list[str], bare: bool = False) -> tuple[list[list[int]], list[list[int]]]:
        if self._fast is None:
            limit = {"truncation": "longest_first", "max_length": self.max_seq_length} if self.max_seq_length else {}
            encoded = self._python(texts, padding=False, return_token_type_ids=self._has_type_ids, **limit)
            return encoded["input_ids"], encoded.get("token_type_ids", [])
        # Not part of what a pickled tokenizer keeps.
        self._fast.encode_special_tokens = self._split_special_tokens
        encodings = self._fast.encode_batch_fast(texts, add_special_tokens=self._add_special_tokens and not bare)
        types = [encoding.type_ids for encoding in encodings] if self._has_type_ids else []
        return [encoding.ids for encoding in encodings], types

    def _prompt_length(self, prompt: str) -> int:
        """Tokens of the prompt alone, without the special token that would end it."""
        if not prompt or not self._add_special_tokens:
            return 0
        if prompt not in self._prompt_lengths:
            ids = self._encode_block([prompt])[0][0]
            ends = bool(ids) and ids[-1] in self._special_ids
            self._prompt_lengths[prompt] = len(ids) - ends
        return self._prompt_lengths[prompt]

    def _adopt(self, tokenizer: Any) -> None:
        """Keep of a transformers tokenizer what encoding needs."""
        self._add_special_tokens = True
        self._special_ids = frozenset(tokenizer.all_special_ids)
        self._split_special_tokens = bool(tokenizer.split_special_tokens)
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        if tokenizer.is_fast:
            self._fast = tokenizer.backend_tokenizer
            self._fast.no_padding()
            self._fast.no_truncation()
        else:
            self._fast = None
            self._python = tokenizer

    def _truncate(self, length: int, side: str) -> None:
        if self._add_special_tokens and length <= self._fast.num_special_tokens_to_add(False):
            raise ConfigError(
                f"max_seq_length {length} leaves no room for text beside the special tokens", "give a larger one"
            )
        self._fast.enable_truncation(length, stride=0, strategy="longest_first", direction=side)

    def _uses_type_ids(self) -> bool:
        """Whether single texts get type ids other than zero; they depend on the place, not on the text."""
        return any(chain.from_iterable(self._encode_block(["a"])[1]))


def _framed(
    before: list[int], flat: np.ndarray, starts: np.ndarray, lengths: np.ndarray, behind: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of `flat`, each between the same other ids, with their lengths and no type ids."""
    every = np.concatenate([np.array([*before, *behind], np.int32), flat])
    pieces = [np.zeros_like(starts), starts + len(before) + len(behind), np.full_like(starts, len(before))]
    sizes = [np.full_like(lengths, len(before)), lengths, np.full_like(lengths, len(behind))]
    rows = gather_ragged(every, np.stack(pieces, axis=1).ravel(), np.stack(sizes, axis=1).ravel())
    return rows, lengths + np.int32(len(before) + len(behind)), np.empty(0, np.int32)


def _static_tokenizer(spec: StaticEmbeddingSpec) -> Any:
    from tokenizers import Tokenizer

    file = spec.path / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise ModelError(f"{file} cannot be loaded: {error}", "fetch or save the model again") from error
    tokenizer.no_padding()
    return tokenizer


def _pretrained_tokenizer(spec: TransformerSpec, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            spec.path, trust_remote_code=trust_remote_code, local_files_only=True, **spec.tokenizer_kwargs
        )
    except Exception as error:  # whatever the files lead the library to
        raise ModelError(
            f"the tokenizer in {spec.path} cannot be loaded: {type(error).__name__}: {error}",
            "fetch or save the model again; if it needs code of its own, say that you trust it",
        ) from error
    if spec.do_lower_case:
        _lower_case(tokenizer)
    return tokenizer


def _default_length(spec: TransformerSpec, tokenizer: Any, trust_remote_code: bool) -> int | None:
    """The folder's own statement, else the smaller of what tokenizer and model state."""
    if spec.max_seq_length:
        return spec.max_seq_length
    from transformers import AutoConfig
    from transformers.tokenization_utils_base import LARGE_INTEGER

    config = AutoConfig.from_pretrained(
        spec.path, trust_remote_code=trust_remote_code, local_files_only=True, **spec.config_kwargs
    )
    positions = getattr(config, "max_position_embeddings", None)
    limits = [tokenizer.model_max_length, *([positions] if positions and positions != -1 else [])]
    limit = min(limits)
    return int(limit) if limit < LARGE_INTEGER else None


def _lower_case(tokenizer: Any) -> None:
    if not tokenizer.is_fast:
        tokenizer.do_lower_case = True
        return
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    present: Any = backend.normalizer
    chained = type(present) is normalizers.Sequence
    steps = [] if present is None else list(present) if chained else [present]
    if not any(isinstance(step, normalizers.Lowercase) for step in steps):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])


def _bad_text(texts: Sequence[Any], start: int, cause: Exception) -> InputError:
    for position, text in enumerate(texts, start):
        if not isinstance(text, str):
            return InputError(f"text {position} is {type(text).__name__}, expected a string", "drop or convert it")
        try:
            text.encode()
        except UnicodeEncodeError:
            return InputError(f"text {position} holds half a surrogate pair: {text[:80]!r}", "decode the text again")
    return InputError(f"the texts from {start} on cannot be tokenized: {cause}")
