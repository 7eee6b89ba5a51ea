"""The real all-MiniLM-L6-v2 over a mix of texts: the same embeddings as the peer's, in float32."""

from __future__ import annotations

import inspect
import random

import numpy as np
import pytest

from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.source import resolve_model
from tests.models.tiny_models import ODD_TEXTS
from tests.parity.compare import assert_close, peer_model


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """2,000 texts: the odd ones, paragraphs of documentation, and random words of any language."""
    documentation = _paragraphs()
    rng = random.Random(7)
    words = sorted({word for paragraph in documentation for word in paragraph.split()})
    words += ["Füße", "naïve", "привет", "世界", "مرحبا", "🚀", "1.5e-7", "C++", "e\u0301", "https://example.org/a?b=c"]
    mixed = [*ODD_TEXTS, *documentation[:600]]
    return mixed + [" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(2000 - len(mixed))]


@pytest.mark.parametrize("count", [400, pytest.param(2000, marks=pytest.mark.slow)])
def test_texts_of_all_kinds(minilm: str, texts: list[str], count: int) -> None:
    texts = texts[:: len(texts) // count]
    assert len(texts) == count
    expected = peer_model(resolve_model(minilm)).encode(texts)
    done: list[tuple[int, int]] = []
    ours = BiEncoder(minilm, device="cpu")
    tokens = ours.tokenizer.tokenize(texts)
    found = ours.encode_tokenized(tokens, on_batch=lambda rows, count, places: done.append((rows, count)))
    assert_close(found, expected)
    assert np.sum(done, axis=0).tolist() == [len(texts), len(tokens.flat)]


def test_half_precision_stays_close(minilm: str, texts: list[str]) -> None:
    some = texts[:200]
    full = BiEncoder(minilm, device="cpu").encode(some)
    half = BiEncoder(minilm, device="cpu", dtype="bfloat16").encode(some)
    assert half.dtype == np.float32
    assert (full * half).sum(axis=1).min() > 0.9995


def _paragraphs() -> list[str]:
    import numpy
    import scipy.optimize
    import scipy.stats

    found = set()
    for module in (numpy, scipy.stats, scipy.optimize):
        for name in sorted(vars(module)):
            document = inspect.getdoc(getattr(module, name)) or ""
            found |= {part[:100] for part in document.split("\n\n")[:3] if len(part) > 20}
    return random.Random(5).sample(sorted(found), 600)
