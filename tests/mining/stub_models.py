"""A bi-encoder and a cross-encoder for negatives, which Sentence Transformers' own function takes too."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from st_ray.scoring.similarity import similarity_of


def rng_of(*texts: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest()))


class StubModel:
    """The vector of a text: a direction that its digits share with others, and noise of its own.

    Attributes:
        encoded: how often each text was encoded.
    """

    device = torch.device("cpu")

    def __init__(self, similarity: str = "cosine", noise: float = 1.0, dimension: int = 16) -> None:
        self.similarity_fn_name = similarity
        self.similarity = similarity_of(similarity).score
        self.similarity_pairwise = similarity_of(similarity).pairwise
        self.encoded: dict[str, int] = {}
        self._noise = noise
        self._dimension = dimension

    def get_embedding_dimension(self) -> int:
        return self._dimension

    def encode(
        self,
        texts: Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        convert_to_tensor: bool = False,
        **_: Any,
    ) -> Any:
        prompt = prompt if prompt is not None else {None: "", "query": "Q ", "passage": "P "}[prompt_name]
        for text in texts:
            self.encoded[prompt + text] = self.encoded.get(prompt + text, 0) + 1
        rows = np.stack([self._vector(prompt + text) for text in texts]).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return torch.from_numpy(rows) if convert_to_tensor else rows

    encode_query = encode_document = encode

    def _vector(self, text: str) -> np.ndarray:
        digits = "".join(filter(str.isdigit, text))
        shared, own = (rng_of(part).standard_normal(self._dimension) for part in (digits, text))
        return shared + self._noise * own


class StubCrossEncoder:
    """A fixed score between -1 and 1 of a pair; higher where their digits are the same.

    Attributes:
        calls: the pairs of each call.
    """

    def __init__(self, score: Callable[[str, str], float] | None = None) -> None:
        self.calls: list[list[tuple[str, str]]] = []
        self._score = score or self._mixed

    def predict(self, pairs: Sequence[tuple[str, str]], convert_to_tensor: bool = False, **_: Any) -> Any:
        self.calls.append(list(pairs))
        scores = np.array([self._score(*pair) for pair in pairs], np.float32)
        return torch.from_numpy(scores) if convert_to_tensor else scores

    def rank(self, query: str, documents: Sequence[str], **_: Any) -> list[dict[str, Any]]:
        scores = self.predict([(query, document) for document in documents])
        return [{"corpus_id": int(place), "score": float(scores[place])} for place in np.argsort(-scores)]

    @staticmethod
    def _mixed(query: str, document: str) -> float:
        same = "".join(filter(str.isdigit, query)) == "".join(filter(str.isdigit, document))
        return float(rng_of(query, document).uniform(-1, 1) * 0.6 + 0.4 * same)


def cosines(model: StubModel, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
    return model.similarity(model.encode(queries), model.encode(documents))
