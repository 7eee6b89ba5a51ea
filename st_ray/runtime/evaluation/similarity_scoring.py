"""Labelled pairs to the similarities of their embeddings, as committed, resumable shards."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.core.errors import ShardError
from st_ray.models.tokens import TokenizedTexts
from st_ray.models.within_memory import OutOfMemoryError
from st_ray.runtime import pipeline
from st_ray.runtime.compute import Compute
from st_ray.runtime.config import LEAST_COSINE, ModelConfig
from st_ray.runtime.corpus import Corpus, describe_shard
from st_ray.runtime.data_scoring import PAIRS_OF_A_SHARD, DataScoring
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.model import injected_model, inspect_model
from st_ray.runtime.encode.reference import FOR_COSINE, Reference, make_reference, measure_cosine
from st_ray.runtime.encode.steps import EncoderLoader, TokenEncoder, tokenizer_of
from st_ray.runtime.evaluation.config import SIMILARITIES, EvaluateSimilarityConfig
from st_ray.runtime.evaluation.labelled import LabelledPairs, LabelledSource, part_of
from st_ray.runtime.meter import Meter
from st_ray.runtime.model_facts import ModelFacts
from st_ray.runtime.pipeline import Row, pack, task_of, unpack
from st_ray.runtime.resources import ActorPlan
from st_ray.runtime.stage import Stage
from st_ray.runtime.work import ShardWork
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import OutputFolder, Part
from st_ray.store.scores import KIND, similarities_part


@dataclass(frozen=True)
class ReadTexts:
    """First step: the shard's pairs, each distinct text of either side tokenized once."""

    loader: EncoderLoader
    source: LabelledSource
    prompt: str

    def __call__(self, row: Row) -> Row:
        """The tokens, which texts make a pair, and the rest."""
        (first, second, *_), pairs = self.source.read(task_of(row))
        places: dict[str, int] = {}
        sides = np.array(
            [[places.setdefault(text, len(places)) for text in texts] for texts in (first, second)], np.int32
        )
        tokens = tokenizer_of(self.loader).tokenize(list(places), self.prompt)
        return {"tokens": pack(tokens), "sides": sides, "pairs": pack(pairs)}


class Compare:
    """Second step, in an actor: the model, loaded once, over the shard's texts; then the similarities of the pairs.

    Args:
        measure: measures the encoder once it is loaded, and raises where it is not good enough.
    """

    def __init__(
        self,
        loader: EncoderLoader,
        threads: int,
        batch_tokens: int | None,
        meter: Any,
        measure: Callable[[TokenEncoder], Mapping[str, float]] | None,
    ) -> None:
        self._encoder = loader.encoder(threads)
        self._measured = measure(self._encoder) if measure else {}
        self._batch_tokens = batch_tokens
        self._meter = meter

    def __call__(self, row: Row) -> Row:
        """The similarities, float32 `[4, n]` in the order of `SIMILARITIES`; raises ShardError for one not finite."""
        from st_ray.scoring.similarity import similarity_of  # it loads torch, which the driver can do without

        tokens: TokenizedTexts = unpack(row["tokens"])
        first, second = np.asarray(row["sides"])
        work = ShardWork(self._meter, len(first) / max(1, len(tokens.lengths)))
        try:
            embeddings = self._encoder.encode_tokenized(
                tokens,
                batch_tokens=self._batch_tokens,
                on_batch=work.on_batch,
            )
        except OutOfMemoryError as error:
            pair = int(np.flatnonzero((first == error.row) | (second == error.row))[0])
            named: LabelledPairs = unpack(row["pairs"])
            raise error.of(named.describe(pair)) from error
        work.end()
        one, other = embeddings[first], embeddings[second]
        scores = np.stack([np.asarray(similarity_of(name).pairwise(one, other)) for name in SIMILARITIES])
        bad = np.flatnonzero(~np.isfinite(scores).all(axis=0))
        if len(bad):
            pairs: LabelledPairs = unpack(row["pairs"])
            raise ShardError(
                f"a similarity of {pairs.describe(int(bad[0]))} is not finite (such pairs in this shard: {len(bad)})",
                "use --dtype float32 if the model overflows in a shorter type, and check the model's weights",
            )
        figures = {"tokens": len(tokens.flat), "places": work.places, **self._measured}
        return {"scores": scores.astype(np.float32), "figures": pack(figures), "pairs": row["pairs"]}


def make_part(row: Row) -> Part:
    """Last step: the part of similarities, ready to be published."""
    pairs: LabelledPairs = unpack(row["pairs"])
    scores = np.asarray(row["scores"])
    columns = {name: pa.array(values) for name, values in zip(SIMILARITIES, scores, strict=True)}
    return part_of(row, similarities_part({**pairs.columns, **columns}), scores.shape[1])


class SimilarityScoring(DataScoring[EncoderLoader]):
    """Similarities by a bi-encoder.

    Args:
        loader: an encoder of the caller's own in place of a model folder's.

    Raises:
        StRayError: bad flags, files, columns or model; no row is read and no weight loaded for that.
    """

    def __init__(self, config: EvaluateSimilarityConfig, folder: str, loader: EncoderLoader | None) -> None:
        self._flags = config
        flags = {field.name: getattr(config, field.name) for field in fields(ModelConfig)}
        encode = EncodeConfig(
            input=config.data, model=config.model, output=folder, truncate_dim=config.truncate_dim, **flags
        )
        model: ModelFacts[EncoderLoader] = injected_model(encode, loader) if loader else inspect_model(encode)
        spec = config.labelled_spec("number")
        super().__init__(config, OutputFolder(folder, KIND), model, spec, PAIRS_OF_A_SHARD)

    def _stage(self, corpus: Corpus, compute: Compute, actors: ActorPlan, meter: Meter) -> Stage:
        flags, model = self._flags, self._model
        loader = model.loader_for(compute)
        read = ReadTexts(loader, LabelledSource(corpus.spec, flags.on_bad_row, of_documents=False), model.prompt)
        measure = None
        if not compute.exact:
            given = (model.loader_for(compute.reference), corpus.shards, corpus.spec, model.prompt, flags.seed)
            sample = functools.partial(make_reference, *given, FOR_COSINE, actors.threads)
            least = flags.least_agreement("min_cosine", LEAST_COSINE)
            measure = functools.partial(_measure, pipeline.known_to(actors, sample), least)
        make = functools.partial(Compare, loader, actors.threads, flags.batch_tokens, meter.client(), measure)

        return Stage(
            label="compare",
            tasks=corpus.shards,
            rows=[shard.rows for shard in corpus.shards],
            connect=pipeline.TasksThenActors(read, make, actors),
            finish=make_part,
            writers=max(1, actors.maximum // 2),
            describe=describe_shard,
            noun="pairs",
        )

    def _about(self, entries: Sequence[ShardEntry]) -> dict[str, Any]:
        measured = [entry.figures["cosine"] for entry in entries if "cosine" in entry.figures]
        return {"min_cosine_to_float32": round(min(measured), 6) if measured else None}


def _measure(reference: Callable[[], Reference], least: float, encoder: TokenEncoder) -> dict[str, float]:
    return {"cosine": measure_cosine(encoder, reference(), least)}
