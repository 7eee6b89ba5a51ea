"""The three steps of encoding a shard: read and tokenize, encode, make the part. Run by workers; Ray-free inside."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from st_ray.core.errors import ShardError
from st_ray.models.tokens import TokenizedTexts
from st_ray.models.within_memory import OutOfMemoryError
from st_ray.runtime.pipeline import Row, pack, task_of, unpack
from st_ray.runtime.work import ShardWork
from st_ray.scoring.quantization import quantize_embeddings
from st_ray.store.embeddings import part_bytes, text_digests
from st_ray.store.output import Part
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import TextBlock, read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.rejects import left_out
from st_ray.store.reuse import OldStore


class Tokenizer(Protocol):
    """Texts to token ids."""

    def tokenize(self, texts: list[str], prompt: str = "") -> TokenizedTexts:
        """Tokens of `prompt + text` for each text, truncated to the model's length."""


class TokenEncoder(Protocol):
    """Token ids to embeddings."""

    def encode_tokenized(
        self,
        tokens: TokenizedTexts,
        *,
        normalize: bool = False,
        batch_tokens: int | None = None,
        on_batch: Callable[[int, int, int], None] | None = None,
    ) -> np.ndarray:
        """float32 `[n, d]` in the order of the texts; `on_batch(rows, tokens, places)` after each batch."""


class EncoderLoader(Protocol):
    """Makes the two halves of a bi-encoder on the machine that needs them; picklable and hashable."""

    def tokenizer(self) -> Tokenizer:
        """For CPU tasks: no weights are loaded."""

    def encoder(self, threads: int | None) -> TokenEncoder:
        """For actors: the model, with `threads` compute threads; None for the library's own number."""

    def __hash__(self) -> int:
        """Equal loaders load the same: a worker keeps what it has loaded."""


@dataclass(frozen=True)
class ReadAndTokenize:
    """First step: the shard's texts, read, checked, and tokenized once each, unless an old store has them.

    Attributes:
        wait: returns once the matches with `old` are written.
    """

    loader: EncoderLoader
    spec: ReadSpec
    prompt: str
    on_bad_row: Literal["fail", "skip"]
    keep_text: bool
    old: OldStore | None = None
    wait: Callable[[], None] | None = None

    def __call__(self, row: Row) -> Row:
        """The shard's tokens, each distinct text once, and its columns but the embedding."""
        plan: ShardPlan = task_of(row)
        block = read_shard(plan, self.spec, on_bad_row=self.on_bad_row)
        if self.wait is not None:
            self.wait()
        matches = self.old.matches_of(row["name"]) if self.old else np.empty((0, 3), np.int32)
        fresh = np.delete(np.arange(len(block), dtype=np.int32), matches[:, 0])
        texts = [block.texts[position] for position in fresh.tolist()] if len(matches) else block.texts
        unique: dict[str, int] = {}
        positions = (unique.setdefault(text, len(unique)) for text in texts)
        inverse = np.fromiter(positions, np.int32, len(texts))
        tokens = tokenizer_of(self.loader).tokenize(list(unique), self.prompt)
        return {
            "flat": tokens.flat,
            "lengths": tokens.lengths,
            "type_ids": tokens.type_ids if tokens.type_ids is not None else np.empty(0, np.int32),
            "prompt_length": tokens.prompt_length,
            "inverse": inverse,
            "fresh": fresh,
            "matches": pack(matches),
            "meta": pack(_meta(block, self.keep_text)),
            "rejects": pack(block.rejects),
            "first_row": plan.first_row,
        }


@functools.lru_cache(maxsize=2)
def tokenizer_of(loader: EncoderLoader) -> Tokenizer:
    """The loader's tokenizer, loaded once a process.

    Ray uses a worker process for many tasks; loading a tokenizer takes longer than a small shard.
    """
    return loader.tokenizer()


def _meta(block: TextBlock, keep_text: bool) -> pa.Table:
    columns: dict[str, Any] = {"id": block.ids, "row": pa.array(block.rows), "text_digest": text_digests(block.texts)}
    if keep_text:
        columns["text"] = pa.array(block.texts, pa.string())
    return pa.table(columns)


class Encode:
    """Second step, in an actor: the model, loaded once, over the shard's tokens.

    Args:
        measure: measures the encoder once it is loaded, and raises where it is not good enough; its results are noted
            with every part.
    """

    def __init__(
        self,
        loader: EncoderLoader,
        threads: int,
        normalize: bool,
        batch_tokens: int | None,
        meter: Any,
        measure: Callable[[TokenEncoder], Mapping[str, float]] | None = None,
    ) -> None:
        self._encoder = loader.encoder(threads)
        self._measured = measure(self._encoder) if measure else {}
        self._normalize = normalize
        self._batch_tokens = batch_tokens
        self._meter = meter

    def __call__(self, row: Row) -> Row:
        """The shard's embeddings, float32 `[n, d]`; raises ShardError for one that is not finite."""
        type_ids = row["type_ids"] if len(row["type_ids"]) else None
        tokens = TokenizedTexts(
            flat=row["flat"], lengths=row["lengths"], prompt_length=int(row["prompt_length"]), type_ids=type_ids
        )
        inverse = np.asarray(row["inverse"], np.int32)
        work = ShardWork(self._meter, len(inverse) / max(1, len(tokens.lengths)))
        reused = len(unpack(row["matches"]))
        try:
            unique = self._encoder.encode_tokenized(
                tokens,
                normalize=self._normalize,
                batch_tokens=self._batch_tokens,
                on_batch=work.on_batch,
            )
        except OutOfMemoryError as error:
            raise error.of(_named(row, int(np.flatnonzero(inverse == error.row)[0]))) from error
        _check_finite(unique, inverse, row)
        embedding = unique if len(unique) == len(inverse) else unique[inverse]
        work.end(reused)
        figures = {
            "tokens": len(tokens.flat),
            "places": work.places,
            "repeated": len(inverse) - len(unique),
            "reused": reused,
            **self._measured,
        }
        kept = {name: row[name] for name in ("meta", "rejects", "first_row", "fresh", "matches")}
        return {"embedding": embedding, "figures": pack(figures), **kept}


def _check_finite(unique: np.ndarray, inverse: np.ndarray, row: Row) -> None:
    finite = np.isfinite(unique).all(axis=1)
    if finite.all():
        return
    raise ShardError(
        f"the embedding of {_named(row, int(np.flatnonzero(~finite[inverse])[0]))} is not finite "
        f"(such rows in this shard: {int((~finite[inverse]).sum())})",
        "use --dtype float32 if the model overflows in a shorter type, and check the model's weights",
    )


def _named(row: Row, place: int) -> str:
    """The text at `place` among those of the shard that are encoded."""
    position = int(row["fresh"][place])
    meta = unpack(row["meta"])
    return f"row {meta['row'][position].as_py()} (id {meta['id'][position].as_py()!r})"


@dataclass(frozen=True)
class MakePart:
    """Last step: the part's Parquet bytes, and the rows that were left out as a file beside it.

    Attributes:
        precision: of the stored embeddings.
        ranges: `[2, d]`, for int8 and uint8; see `quantize_embeddings`.
        old: where rows that are not encoded take their embedding from.
    """

    precision: str = "float32"
    ranges: Sequence[Sequence[float]] | None = None
    old: OldStore | None = None

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published."""
        meta: pa.Table = unpack(row["meta"])
        rejects: pa.Table = unpack(row["rejects"])
        embedding = np.asarray(row["embedding"], np.float32)
        stored: Any = quantize_embeddings(embedding, self.precision, ranges=self.ranges)
        matches = unpack(row["matches"])
        if self.old is not None and len(matches):
            fresh, stored = stored, np.empty((len(meta), stored.shape[1]), stored.dtype)
            stored[row["fresh"]] = fresh
            self.old.copy_embeddings(matches, stored)
        return Part(
            data=part_bytes(meta, stored),
            rows=len(meta),
            first_row=int(row["first_row"]),
            figures=unpack(row["figures"]) | {"dimension": embedding.shape[1]},
            **left_out(rejects, row["name"]),
        )
