"""A seeded sample in float32: what a run in fewer bits is measured by, and where the ranges of int8 come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.core.errors import ModelError
from st_ray.models.tokens import TokenizedTexts
from st_ray.runtime.encode.steps import EncoderLoader, TokenEncoder
from st_ray.scoring.agreement import cosines
from st_ray.scoring.quantization import quantization_ranges
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.sample import sample_texts
from st_ray.store.readers.spec import ReadSpec


@dataclass(frozen=True)
class SampleSize:
    """How much to look at: so many texts, or fewer where they are long."""

    texts: int
    tokens: int


FOR_COSINE = SampleSize(texts=64, tokens=4096)
FOR_RANGES = SampleSize(texts=1024, tokens=65536)


@dataclass(frozen=True)
class Reference:
    """Some texts of the corpus, tokenized, and their embeddings in float32, `[n, d]`."""

    tokens: TokenizedTexts
    embeddings: np.ndarray


def make_reference(
    loader: EncoderLoader,
    shards: Sequence[ShardPlan],
    spec: ReadSpec,
    prompt: str,
    seed: int,
    size: SampleSize,
    threads: int | None,
) -> Reference:
    """Encode a sample with the encoder of `loader`, which must compute in float32; nothing is normalised.

    Args:
        threads: of the encoder.

    Raises:
        InputError: a file changed since the scan or is damaged.
        ModelError: the model cannot be loaded.
    """
    texts = sample_texts(shards, spec, size.texts, seed)
    tokenizer = loader.tokenizer()
    lengths = tokenizer.tokenize(texts, prompt).lengths
    enough = max(1, int(np.searchsorted(np.cumsum(lengths), size.tokens)))
    tokens = tokenizer.tokenize(texts[:enough], prompt)
    return Reference(tokens, loader.encoder(threads).encode_tokenized(tokens))


def sample_ranges(reference: Reference, normalize: bool) -> list[list[float]] | None:
    """The least and the greatest value of each dimension over the sample, `[2, d]`; None for an empty sample."""
    found = reference.embeddings
    if normalize:
        found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return quantization_ranges(found).tolist() if len(found) else None


def measure_cosine(encoder: TokenEncoder, reference: Reference, least: float) -> float:
    """The smallest cosine of the encoder's embeddings of the sample to those in float32; 1 for an empty sample.

    Raises:
        ModelError: it is less than `least`.
    """
    found = encoder.encode_tokenized(reference.tokens)
    cosine = float(cosines(found, reference.embeddings).min(initial=1.0))
    if not cosine >= least:
        raise ModelError(
            f"embeddings of this dtype have a cosine of {cosine:.5f} to those in float32 over a sample of "
            f"{len(found)} texts, less than --min-cosine {least:g}",
            "use --dtype float32, or allow it with a lower --min-cosine",
        )
    return cosine
