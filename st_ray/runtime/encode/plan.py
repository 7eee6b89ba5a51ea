"""`--plan`: what a run would do, and how long it would take, from a look at the corpus and a short measurement."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from st_ray.models.tokens import TokenizedTexts
from st_ray.runtime.compute import Compute, actors_for
from st_ray.runtime.corpus import Corpus, prepare_corpus
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.model import injected_model, inspect_model
from st_ray.runtime.encode.prepare import scan_request
from st_ray.runtime.encode.reuse import check_same_embeddings, count_matches
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.joining import job_session
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.resources import cluster_nodes, parse_actors
from st_ray.store.embeddings import KIND, open_embeddings
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, part_name
from st_ray.store.readers.sample import sample_texts
from st_ray.store.reuse import OldStore

SAMPLE_TEXTS = 4096
_PROBE_TOKENS = 32768
PROBE_SECONDS = 5.0
_SHARE_OF_JOB = 0.05
"""What the job costs beside its model: reading, tokenizing and writing on the same cores, about."""


@dataclass(frozen=True)
class Probe:
    """One actor's measurement: tokens a second, and the seconds its model took to load."""

    rate: float
    load_seconds: float


@dataclass(frozen=True)
class EncodePlan:
    """What a run would do.

    Attributes:
        lengths: tokens of the sampled texts, int32 `[n]`.
        truncated: share of the sampled texts that are as long as the model takes, so most likely cut.
        probes: of actors that ran at the same time, as many as there are here.
        actors: that the run would have at most.
        threads: compute threads of one actor.
        price_per_hour: of one actor; None if unknown.
        reused: rows whose embedding is copied from an older store.
        gone: rows of that store that have no text any more.
    """

    rows: int
    bad_rows: int
    shards: int
    lengths: np.ndarray
    truncated: float
    compute: Compute
    probes: tuple[Probe, ...]
    actors: int
    threads: int
    price_per_hour: float | None
    reused: int = 0
    gone: int = 0

    @property
    def encoded(self) -> int:
        """Rows whose text the model gets."""
        return self.rows - self.bad_rows - self.reused

    @property
    def tokens(self) -> float:
        """Of the rows to encode, about."""
        return float(self.lengths.mean()) * self.encoded if len(self.lengths) else 0.0

    @property
    def rate(self) -> float:
        """Tokens a second of one actor, while the others run."""
        return sum(probe.rate for probe in self.probes) / len(self.probes)

    @property
    def seconds(self) -> float:
        """From the first actor's start to the last commit, about."""
        busy = self.tokens / (self.rate * self.actors)
        return max(probe.load_seconds for probe in self.probes) + busy * (1 + _SHARE_OF_JOB)

    @property
    def cost(self) -> float | None:
        """Of all actors for that time."""
        return None if self.price_per_hour is None else self.price_per_hour * self.actors * self.seconds / 3600

    @property
    def figures(self) -> dict[str, Any]:
        """What of it programs ask for."""
        return {
            "rows": self.rows,
            "rows_left_out": self.bad_rows,
            "reused": self.reused,
            "encoded": self.encoded,
            "gone": self.gone,
            "shards": self.shards,
            "tokens": round(self.tokens),
            "tokens_per_second_and_actor": round(self.rate, 1),
            "actors": self.actors,
            "threads_per_actor": self.threads,
            "seconds": round(self.seconds, 1),
            "cost": self.cost,
        }


def plan_encode(config: EncodeConfig, loader: EncoderLoader | None = None) -> EncodePlan:
    """Look at the input, the model and the machines. Writes nothing.

    Raises:
        StRayError: whatever would stop the job before its first shard.
    """
    OutputFolder(config.output, KIND).check_usable()
    model = injected_model(config, loader) if loader else inspect_model(config)
    request = scan_request(config, staging=None)
    reused = open_embeddings(config.reuse) if config.reuse else None
    with job_session(config):
        corpus = prepare_corpus(request)
        compute = model.begun_compute(config, reused.lineage if reused else None)
        if reused is not None and compute is not None:
            check_same_embeddings(str(config.reuse), reused.lineage, {**model.settings, **compute.settings})
        counts = _counts(config, corpus, reused) if reused else {}
        compute = model.settled_compute(config, compute)
        here = actors_for(config, compute, len(corpus.shards), model.actor_bytes).fitted(cluster_nodes())
        encoder = model.loader_for(compute)
        texts = sample_texts(corpus.shards, corpus.spec, SAMPLE_TEXTS, config.seed)
        tokenizer = encoder.tokenizer()
        lengths = tokenizer.tokenize(texts, model.prompt).lengths
        enough = int(np.searchsorted(np.cumsum(lengths), _PROBE_TOKENS)) + 1
        tokens = tokenizer.tokenize(texts[:: max(1, len(texts) // enough)], model.prompt)
        probe = ray.remote(_probe).options(num_cpus=here.cpus, num_gpus=here.gpus or None)
        probes = [
            probe.remote(encoder, here.threads, tokens, config.batch_tokens, PROBE_SECONDS) for _ in range(here.maximum)
        ]
        measured = tuple(map(result_of, probes))
    longest = int(lengths.max(initial=0))
    asked = parse_actors(config.actors)
    return EncodePlan(
        rows=corpus.rows,
        bad_rows=corpus.bad_rows,
        shards=len(corpus.shards),
        lengths=lengths,
        truncated=float((lengths == longest).mean()) if (lengths == longest).sum() > 1 else 0.0,
        compute=compute,
        probes=measured,
        actors=min(len(corpus.shards), asked[1] if asked else here.maximum),
        threads=here.threads,
        price_per_hour=config.price_per_hour,
        **counts,
    )


def _counts(config: EncodeConfig, corpus: Corpus, reused: Manifest) -> dict[str, int]:
    """What an older store has of the corpus."""
    old = OldStore(str(config.reuse), reused.entries, matches="")
    shards = [(part_name(shard.number, len(corpus.shards)), shard) for shard in corpus.shards]
    return count_matches(old, shards, corpus.spec, config.on_bad_row)


def _probe(
    loader: EncoderLoader, threads: int, tokens: TokenizedTexts, batch_tokens: int | None, seconds: float
) -> Probe:
    begun = time.perf_counter()
    encoder = loader.encoder(threads)
    loaded = time.perf_counter()
    done = 0
    # The first pass finds the shapes, and lets the other actors come up.
    encoder.encode_tokenized(tokens, batch_tokens=batch_tokens)
    start = time.perf_counter()
    while not done or time.perf_counter() - start < seconds:
        encoder.encode_tokenized(tokens, batch_tokens=batch_tokens)
        done += len(tokens.flat)
    return Probe(max(done, 1) / (time.perf_counter() - start), loaded - begun)
