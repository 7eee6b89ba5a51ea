"""From rows of texts and labels, wherever they come from, to parts of tokenized examples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from st_ray.core.errors import ModelError
from st_ray.models.folder import ModelFolder, read_model_folder
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.source import model_digest, resolve_model
from st_ray.runtime.model_facts import same_model
from st_ray.store.embeddings import text_digests
from st_ray.store.join import digest_keys
from st_ray.store.output import Part
from st_ray.store.rejects import left_out
from st_ray.training.example_part import VERSION, examples_bytes
from st_ray.training.examples import count_mixed

PART = ".arrow"
"""File name ending of the parts."""
Kind = Literal["cross-encoder", "bi-encoder"]


@dataclass(frozen=True)
class Rows:
    """n examples, not tokenized yet.

    Attributes:
        first: of each, the first text: a query, say.
        others: columns of n texts that stand beside the first. A cross-encoder's input is the first with one of them;
            of a bi-encoder, the first and each of them are inputs.
        labels: float32 `[n, m]`.
    """

    first: list[str]
    others: list[list[str]]
    labels: np.ndarray


@dataclass(frozen=True)
class ShardRows:
    """What a shard of the input holds.

    Attributes:
        first_row: global row number at which the shard begins.
        rejects: rows that were left out, a table of REJECTS_SCHEMA; None where there are none.
    """

    rows: Rows
    first_row: int
    rejects: pa.Table | None = None


@dataclass(frozen=True)
class RowSource:
    """Where rows come from.

    Attributes:
        tasks: a picklable descriptor of each shard.
        rows: input rows of each.
        read: what a shard holds; runs in a task. The same task gives the same rows.
        describe: what to call a shard in an error.
    """

    tasks: Sequence[Any]
    rows: Sequence[int]
    read: Callable[[Any], ShardRows]
    describe: Callable[[Any], str] = str


class TokenizerLoader(Protocol):
    """Makes a tokenizer on the machine that needs it; picklable and hashable."""

    def tokenizer(self) -> Any:
        """A `PairTokenizer` for a cross-encoder, a `TextTokenizer` for a bi-encoder."""

    def __hash__(self) -> int:
        """Equal loaders load the same: a worker keeps what it has loaded."""


@dataclass(frozen=True)
class BaseTokenizer:
    """Loads the tokenizer of the model that training starts from; a `TokenizerLoader`.

    Attributes:
        digest: of the model's content.
        max_length: tokens that an input is cut to; None: the model's own limit.
    """

    kind: Kind
    model: str
    digest: str
    max_length: int | None = None
    trust_remote_code: bool = False

    def tokenizer(self) -> Any:
        """The tokenizer of the model folder, which is fetched if this machine lacks it.

        Raises:
            ModelError: the folder is damaged, or this machine has another one under the same name.
            ConfigError: `max_length` leaves no room for texts.
        """
        from st_ray.models.pair_tokenizer import PairTokenizer
        from st_ray.models.tokenizer_cache import cached_tokenizer

        folder = _base_folder(self.kind, same_model(self.model, self.digest))
        texts = cached_tokenizer(folder, self.digest, self.max_length, self.trust_remote_code)
        return PairTokenizer(texts) if self.kind == "cross-encoder" else texts


@functools.lru_cache(maxsize=2)
def tokenizer_of(loader: TokenizerLoader) -> Any:
    """The loader's tokenizer, loaded once a process.

    Ray uses a worker process for many tasks; loading a tokenizer takes longer than a small shard.
    """
    return loader.tokenizer()


@dataclass(frozen=True)
class ExampleMaker:
    """Makes parts of tokenized examples.

    Attributes:
        prompt: put before the first text of a pair, or before every text.
        settings: everything beside rows that changes a part: of the tokenizer, and the version of parts.
    """

    kind: Kind
    loader: TokenizerLoader
    prompt: str
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        kind: Kind,
        model: str,
        prompt: str = "",
        max_length: int | None = None,
        trust_remote_code: bool = False,
    ) -> ExampleMaker:
        """One with the tokenizer of a model folder.

        Raises:
            ModelError: there is no such model.
        """
        digest = model_digest(resolve_model(model))
        loader = BaseTokenizer(kind, model, digest, max_length, trust_remote_code)
        settings = {"tokenizer": digest, "max_length": max_length, "prompt": prompt, "part_version": VERSION}
        return cls(kind, loader, prompt, settings)

    @property
    def max_length(self) -> int | None:
        """Tokens that an input is cut to; None where nothing bounds them."""
        tokenizer = tokenizer_of(self.loader)
        length: int | None = tokenizer.max_length if self.kind == "cross-encoder" else tokenizer.max_seq_length
        return length

    def part(self, shard: ShardRows, name: str) -> Part:
        """The part `name`: the shard's rows as examples, ready to be published."""
        rows = shard.rows
        tokenizer = tokenizer_of(self.loader)
        keys = None
        if self.kind == "cross-encoder":
            firsts, first = _distinct([rows.first])
            others, other = _distinct(rows.others)
            of_inputs = np.tile(first[:, 0], len(rows.others)), other.T.ravel()
            tokens = tokenizer.tokenize(firsts, others, *of_inputs, self.prompt)
            members, lengths = np.concatenate([first, other], axis=1), tokens.lengths
            keys = _keys(firsts)[first[:, 0]]
        else:
            texts, members = _distinct([rows.first, *rows.others])
            tokens = tokenizer.tokenize(texts, self.prompt)
            lengths = tokens.lengths[members]
        figures: dict[str, float] = {"tokens": int(lengths.sum(dtype=np.int64))}
        if len(rows.labels):
            figures |= {"lowest_label": float(rows.labels.min()), "highest_label": float(rows.labels.max())}
            figures["graded"] = int(np.count_nonzero((rows.labels != 0) & (rows.labels != 1)))
            if keys is not None:
                figures["mixed"] = count_mixed(keys, rows.labels[:, 0])
        return Part(
            examples_bytes(tokens, members, rows.labels, keys),
            len(rows.labels),
            shard.first_row,
            figures=figures,
            **left_out(shard.rejects, name.replace(PART, ".parquet")),
        )


def _distinct(columns: Sequence[list[str]]) -> tuple[list[str], np.ndarray]:
    """The distinct texts of k columns, in order of appearance, and which of them each is, int32 `[n, k]`."""
    texts = [text for column in columns for text in column]
    found = pa.array(texts, pa.large_string()).dictionary_encode()
    return found.dictionary.to_pylist(), found.indices.to_numpy().reshape(len(columns), -1).T


def _keys(texts: list[str]) -> np.ndarray:
    """The first 8 bytes of each text's digest, int64 `[n]`."""
    return digest_keys(text_digests(texts))[:, 0].astype(np.int64)


def _base_folder(kind: Kind, path: Any) -> ModelFolder:
    """What a folder says of its tokenizer. A cross-encoder may start from an encoder without a classification head."""
    if kind == "bi-encoder":
        return read_model_folder(path)
    try:
        return read_pair_folder(path).model
    except ModelError:
        return read_model_folder(path)
