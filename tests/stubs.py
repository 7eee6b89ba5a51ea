"""A bi-encoder and a cross-encoder without torch: exact and repeatable, and able to misbehave on request."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st_ray.models.pair_tokenizer import PairTemplate, TokenizedPairs
from st_ray.models.tokens import BareTexts, TokenizedTexts
from st_ray.models.within_memory import OutOfMemoryError


@dataclass(frozen=True)
class StubLoader:
    """Loads `StubTokenizer` and `StubEncoder`.

    Attributes:
        pids: folder where each actor leaves a file named after its process.
        hold: while this file exists, encoders wait before a shard.
        seconds: time a shard takes at least.
        fatal: a text that kills the actor's process, each time.
        nan: a text whose embedding is not finite.
        heavy: a text that memory does not hold.
        unloadable: message of the error that loading raises.
        breaks: message of an error of no kind that we know, which loading raises.
    """

    dimension: int = 8
    pids: str = ""
    hold: str = ""
    seconds: float = 0.0
    fatal: str = ""
    nan: str = ""
    heavy: str = ""
    unloadable: str = ""
    breaks: str = ""

    def tokenizer(self) -> StubTokenizer:
        return StubTokenizer()

    def encoder(self, threads: int | None) -> StubEncoder:
        if self.breaks:
            raise TypeError(self.breaks)
        if self.unloadable:
            from st_ray.core.errors import ModelError

            raise ModelError(self.unloadable, "use another model")
        if self.pids:
            Path(self.pids, str(os.getpid())).touch()
        return StubEncoder(self)

    def __repr__(self) -> str:
        return f"StubLoader(dimension={self.dimension})"  # its identity for the lineage: the embeddings it makes


class StubTokenizer:
    """One token a UTF-8 byte, and one to begin with."""

    def tokenize(self, texts: list[str], prompt: str = "") -> TokenizedTexts:
        encoded = [b"\x01" + (prompt + text).encode("utf-8", "surrogatepass") for text in texts]
        flat = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int32)
        lengths = np.array([len(item) for item in encoded], np.int32)
        return TokenizedTexts(flat=flat, lengths=lengths, prompt_length=0, type_ids=None)


class StubEncoder:
    """The embedding is a fixed random projection of the text's byte counts."""

    def __init__(self, loader: StubLoader) -> None:
        self._loader = loader
        self._projection = np.random.default_rng(0).standard_normal((256, loader.dimension)).astype(np.float32)

    @property
    def dimension(self) -> int:
        return self._loader.dimension

    def encode_tokenized(
        self,
        tokens: TokenizedTexts,
        *,
        normalize: bool = False,
        batch_tokens: int | None = None,
        on_batch: Callable[[int, int, int], None] | None = None,
    ) -> np.ndarray:
        loader = self._loader
        while loader.hold and Path(loader.hold).exists():
            time.sleep(0.02)
        time.sleep(loader.seconds)
        bounds = np.cumsum(tokens.lengths)[:-1]
        texts = np.split(np.asarray(tokens.flat), bounds) if len(tokens.lengths) else []
        embeddings = np.zeros((len(texts), loader.dimension), np.float32)
        for position, text in enumerate(texts):
            words = bytes(text[1:].astype(np.uint8)).decode("utf-8", "surrogatepass")
            if loader.fatal and words == loader.fatal:
                os.kill(os.getpid(), 9)
            if loader.heavy and words == loader.heavy:
                raise OutOfMemoryError(position, len(text), "no memory left")
            embeddings[position] = np.bincount(text, minlength=256).astype(np.float32) @ self._projection
            if loader.nan and words == loader.nan:
                embeddings[position, 0] = np.nan
        if normalize:
            embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        if on_batch is not None:
            on_batch(len(texts), len(tokens.flat), len(tokens.flat))
        return embeddings


def stub_embeddings(texts: list[str], prompt: str = "") -> np.ndarray:
    """What an undisturbed run gives for `texts`, `[n, 8]`."""
    tokens = StubTokenizer().tokenize(texts, prompt)
    return StubEncoder(StubLoader()).encode_tokenized(tokens, normalize=False, batch_tokens=None, on_batch=None)


@dataclass(frozen=True)
class StubScorerLoader:
    """Loads a cross-encoder without torch: `StubPairTokenizer` and `StubScorer`.

    Attributes:
        pids: folder where each actor leaves a file named after its process.
        hold: while this file exists, scorers wait before a shard.
        seconds: time a shard takes at least.
        fatal: a document that kills the actor's process, each time.
        nan: a document whose score is not finite.
        labels: scores of a pair.
    """

    pids: str = ""
    hold: str = ""
    seconds: float = 0.0
    fatal: str = ""
    nan: str = ""
    labels: int = 1

    def tokenizer(self) -> StubPairTokenizer:
        return StubPairTokenizer()

    def scorer(self, threads: int | None) -> StubScorer:
        if self.pids:
            Path(self.pids, str(os.getpid())).touch()
        return StubScorer(self)

    def __repr__(self) -> str:
        return f"StubScorerLoader(labels={self.labels})"  # its identity for the lineage: the scores it makes


class StubPairTokenizer:
    """One token a UTF-8 byte, and special ones around and between the texts."""

    def tokenize(
        self, first: list[str], second: list[str], first_of: np.ndarray, second_of: np.ndarray, prompt: str = ""
    ) -> TokenizedPairs:
        template = PairTemplate(((256,), (257,), (258,)), (0, 0, 0, 0, 0))
        halves = _bytes_of([prompt + text for text in first]), _bytes_of(second)
        return TokenizedPairs(*halves, np.asarray(first_of), np.asarray(second_of), template, None)


def _bytes_of(texts: list[str]) -> BareTexts:
    encoded = [text.encode() for text in texts]
    flat = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int32)
    return BareTexts(flat, np.array([len(item) for item in encoded], np.int32), None)


class StubScorer:
    """The score is a fixed function of the pair's bytes, with many ties."""

    def __init__(self, loader: StubScorerLoader) -> None:
        self._loader = loader

    def score_tokenized(
        self,
        tokens: TokenizedPairs,
        *,
        batch_tokens: int | None = None,
        on_batch: Callable[[int, int, int], None] | None = None,
    ) -> np.ndarray:
        while self._loader.hold and Path(self._loader.hold).exists():
            time.sleep(0.02)
        time.sleep(self._loader.seconds)
        scores = np.empty((len(tokens), self._loader.labels), np.float32)
        for row, length in enumerate(tokens.lengths.tolist()):
            ids, _ = tokens.padded(np.array([row]), length, 0)
            document = bytes(ids[0, ids[0].tolist().index(257) + 1 : -1].astype(np.uint8)).decode()
            if self._loader.fatal and document == self._loader.fatal:
                os.kill(os.getpid(), 9)
            scores[row] = np.nan if self._loader.nan and document == self._loader.nan else self._scores(ids[0])
        if on_batch is not None:
            on_batch(len(tokens), int(tokens.lengths.sum()), int(tokens.lengths.sum()))
        return scores

    def _scores(self, ids: np.ndarray) -> np.ndarray:
        total = (ids * (np.arange(len(ids)) + 1)).sum()
        return (total + 5 * np.arange(self._loader.labels)) % 17 / 16


def stub_scores(query: str, document: str, prompt: str = "", labels: int = 1) -> np.ndarray:
    """What `StubScorer` gives for the pair, float32 `[labels]`."""
    one = np.zeros(1, np.int32)
    tokens = StubPairTokenizer().tokenize([query], [document], one, one, prompt)
    return StubScorer(StubScorerLoader(labels=labels)).score_tokenized(tokens)[0]


def stub_score(query: str, document: str, prompt: str = "") -> float:
    """What `StubScorer` gives for the pair."""
    return float(stub_scores(query, document, prompt)[0])
