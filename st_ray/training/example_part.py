"""One part of tokenized examples: an Arrow file of one row and without compression, mapped into memory as it lies.

tokens   list<int32>: of the part's distinct texts, one behind another
bounds   list<int64>: where in `tokens` each text begins, and where the last one ends
lengths  list<int32>: tokens of each whole text; `tokens` holds of a long one as many as an input can keep
types    list<int32>: type ids of the tokens; empty where all are zero
members  list<int32>: the texts of each example, example after example
labels   list<float32>: its labels, likewise
keys     list<int64>: of pairs, a key of each example's first text, from whatever part it is; else empty

What else turns texts into inputs lies in the metadata of the schema, so that who reads parts needs no tokenizer.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.models.batching import Tokens
from st_ray.models.pair_tokenizer import PairTemplate, TokenizedPairs
from st_ray.models.tokens import BareTexts, TokenizedTexts
from st_ray.store.readers.files import reading

_METADATA = b"st_ray.examples"
VERSION = 2
"""Of the files. Examples that another release has begun are not gone on with."""


@dataclass(frozen=True)
class PairRules:
    """How two texts are put together: see `TokenizedPairs`; `most` is that of `BareTexts`."""

    template: PairTemplate
    max_length: int | None
    from_right: bool
    most: int | None


@dataclass(frozen=True)
class Shape:
    """What all parts of a folder have in common.

    Attributes:
        inputs: of an example, k.
        labels: of an example, m.
        pairs: how an input is made of two texts; None where it is one text.
        prompt_length: see `TokenizedTexts`.
        typed: whether texts have type ids.
    """

    inputs: int
    labels: int
    pairs: PairRules | None = None
    prompt_length: int = 0
    typed: bool = False

    @property
    def members(self) -> int:
        """Texts of an example."""
        return self.inputs if self.pairs is None else 1 + self.inputs


@dataclass(frozen=True)
class Texts:
    """Tokens of t texts.

    Attributes:
        tokens: int32, of one text behind another.
        bounds: int64 `[t + 1]`, where each text begins in `tokens`, and where the last one ends.
        lengths: int32 `[t]`, tokens of each whole text.
        types: int32, type ids of the tokens; None where all are zero.
    """

    tokens: np.ndarray
    bounds: np.ndarray
    lengths: np.ndarray
    types: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, which: np.ndarray) -> Texts:
        """Some of them, in the order of `which`, int `[n]`; one may be taken several times."""
        starts = self.bounds[which]
        bounds = np.zeros(len(which) + 1, np.int64)
        np.cumsum(self.bounds[which + 1] - starts, out=bounds[1:])
        places = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], np.diff(bounds))
        types = None if self.types is None else self.types[places]
        return Texts(self.tokens[places], bounds, self.lengths[which], types)


def joined_texts(pieces: Sequence[Texts], typed: bool) -> Texts:
    """One piece behind another."""
    kept = [np.diff(piece.bounds) for piece in pieces]
    return Texts(
        np.concatenate([np.empty(0, np.int32), *(piece.tokens for piece in pieces)]),
        np.cumsum(np.concatenate([np.zeros(1, np.int64), *kept])),
        np.concatenate([np.empty(0, np.int32), *(piece.lengths for piece in pieces)]),
        np.concatenate([np.empty(0, np.int32), *(piece.types for piece in pieces if piece.types is not None)])
        if typed
        else None,
    )


def inputs_of(texts: Texts, members: np.ndarray, shape: Shape) -> Tokens:
    """The inputs of n examples, column after column: input j of example i is row `j * n + i`.

    Args:
        members: int `[n, shape.members]`, which of `texts`; of pairs, the first text and the k others.
    """
    if shape.pairs is None:
        chosen = texts.take(members.T.ravel())
        return TokenizedTexts(chosen.tokens, chosen.lengths, shape.prompt_length, chosen.types)
    bare = BareTexts(texts.tokens, texts.lengths, shape.pairs.most)
    first = np.tile(members[:, 0], shape.inputs).astype(np.int32)
    others = members[:, 1:].T.ravel().astype(np.int32)
    rules = shape.pairs
    return TokenizedPairs(bare, bare, first, others, rules.template, rules.max_length, rules.from_right)


def examples_bytes(
    tokens: TokenizedPairs | TokenizedTexts, members: np.ndarray, labels: np.ndarray, keys: np.ndarray | None = None
) -> bytes:
    """One part. The same input gives the same bytes.

    Args:
        tokens: the distinct texts; of pairs, the distinct first texts and the distinct others.
        members: int32 `[n, 1 + k]`, which first text and which others, or `[n, k]`, which texts.
        labels: float32 `[n, m]`.
        keys: int64 `[n]`, of pairs: equal where the first texts are.
    """
    if isinstance(tokens, TokenizedPairs):
        rules = PairRules(tokens.template, tokens.max_length, tokens.from_right, tokens.first.most)
        shape = Shape(members.shape[1] - 1, labels.shape[1], rules)
        texts = joined_texts([_bare(tokens.first), _bare(tokens.second)], typed=False)
        members = members + np.where(np.arange(members.shape[1]) > 0, len(tokens.first), 0)
    else:
        typed = tokens.type_ids is not None
        shape = Shape(members.shape[1], labels.shape[1], None, tokens.prompt_length, typed)
        texts = Texts(tokens.flat, _bounds(tokens.lengths), tokens.lengths, tokens.type_ids)
    columns = {
        "tokens": texts.tokens.astype(np.int32, copy=False),
        "bounds": texts.bounds,
        "lengths": texts.lengths.astype(np.int32, copy=False),
        "types": np.empty(0, np.int32) if texts.types is None else texts.types.astype(np.int32, copy=False),
        "members": members.astype(np.int32).ravel(),
        "labels": labels.astype(np.float32).ravel(),
        "keys": np.empty(0, np.int64) if keys is None else keys,
    }
    arrays = [_one_list(values) for values in columns.values()]
    metadata = {_METADATA: json.dumps({"version": VERSION, **asdict(shape)}).encode()}
    batch = pa.record_batch(arrays, names=list(columns)).replace_schema_metadata(metadata)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


class ExamplePart:
    """A part, mapped into memory: nothing is read before it is asked for, and no file stays open.

    Attributes:
        shape: see `Shape`.
        texts: the distinct ones.
        members: int32 `[n, shape.members]`, which texts each example is made of.
        labels: float32 `[n, m]`.
        keys: int64 `[n]`, equal where the first texts are; `[0]` where inputs are single texts.
    """

    def __init__(self, path: str) -> None:
        """Map the file at the local `path`. Raises InputError where it is missing, cut short or something else."""
        with reading(path), pa.memory_map(path) as source:
            file = pa.ipc.open_file(source)
            self.shape = _shape(file.schema, path)
            batch = file.get_batch(0)
            columns = {name: batch.column(name).values.to_numpy() for name in file.schema.names}
        types = columns["types"] if self.shape.typed else None
        self.texts = Texts(columns["tokens"], columns["bounds"], columns["lengths"], types)
        self.members = columns["members"].reshape(-1, self.shape.members)
        self.labels = columns["labels"].reshape(-1, self.shape.labels)
        self.keys = columns["keys"]

    def __len__(self) -> int:
        return len(self.labels)


def _bare(texts: BareTexts) -> Texts:
    return Texts(texts.flat, _bounds(texts.kept), texts.lengths)


def _bounds(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _one_list(values: np.ndarray) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), pa.array(values))


def _shape(schema: pa.Schema, path: str) -> Shape:
    written = json.loads((schema.metadata or {}).get(_METADATA, b"{}"))
    if written.pop("version", None) != VERSION:
        raise InputError(f"{path} holds no examples that this release can read", "prepare them again")
    pairs = written.pop("pairs")
    if pairs is None:
        return Shape(**written)
    before, between, behind = map(tuple, pairs["template"]["specials"])
    types: Any = tuple(pairs["template"]["types"])
    pairs["template"] = PairTemplate((before, between, behind), types)
    return Shape(**written, pairs=PairRules(**pairs))
