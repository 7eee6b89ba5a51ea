"""The step of the cross-encoder: scores of candidates, of which those that other minings have made are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from st_ray.runtime.compute import AUTO
from st_ray.runtime.config import ComputeConfig, Names
from st_ray.runtime.cross_encoding.config import CrossEncoderConfig
from st_ray.runtime.cross_encoding.model import injected_scorer, inspect_cross_encoder, require_one_label
from st_ray.runtime.cross_encoding.steps import ScorerLoader
from st_ray.runtime.mining.negatives.config import MACHINES, MineHardNegativesConfig
from st_ray.runtime.mining.negatives.scores import ScoredPairs, prepare_unscored
from st_ray.runtime.mining.negatives.texts import PairTexts
from st_ray.runtime.mining.negatives.work import CANDIDATES, EARLIER, SCORES, UNSCORED, Work
from st_ray.runtime.rerank.config import RerankConfig
from st_ray.runtime.rerank.job import rerank
from st_ray.store import fs
from st_ray.store.manifest import Manifest, read_manifest

_TEXT = Names(("text",))


@dataclass(frozen=True)
class Rescoring:
    """The cross-encoder's part of a mining.

    Attributes:
        scorer: a cross-encoder of the caller's own.
    """

    config: MineHardNegativesConfig
    scorer: ScorerLoader | None
    work: Work

    @property
    def wanted(self) -> bool:
        """Whether there is a cross-encoder."""
        return self.scorer is not None or self.config.cross_encoder is not None

    def check(self) -> None:
        """Raise ModelError or ConfigError for a model that cannot be used; no weights are loaded for that."""
        if self.scorer is None and self.config.cross_encoder is not None:
            flags = CrossEncoderConfig(output=self.config.output, **self._flags)
            _, labels = inspect_cross_encoder(flags, self.config.cross_encoder)
            require_one_label(self.config.cross_encoder, labels, "negatives are chosen by one score")

    def scored(
        self, texts: PairTexts, depth: int, candidates: Manifest
    ) -> tuple[tuple[ScoredPairs, ...], Mapping[str, Any]]:
        """The scores of candidates, and what a reader wants to know of them.

        They are those of smaller depths, and those of the pairs that these lack.
        """
        work, config = self.work, self._rerank_config(texts, depth)
        known = [self._of_depth(shallow) for shallow in self._earlier(depth, config)]
        scored, about = tuple(some for some, _ in known), known[0][1].about if known else {}
        asked = candidates
        if known:
            config = self._for_unscored(config, depth, known[0][1])
            with work.step(UNSCORED, str(config.hits)):
                hits = work.at_depth(depth, CANDIDATES)
                asked = prepare_unscored(hits, candidates, scored, str(config.hits), work.start_ray, config.actors)
        if asked.rows:
            with work.step(SCORES, config.output):
                found = rerank(config, self.scorer, work.session).manifest
            scored, about = (*scored, ScoredPairs.of(asked, found, config.output)), found.about
        return scored, about

    def _earlier(self, depth: int, config: RerankConfig) -> list[int]:
        """The smaller depths whose scores the same cross-encoder has made; settled when they are first asked for."""
        where = self.work.at_depth(depth, EARLIER)
        if not fs.is_file(where):
            done = [less for less in self.work.depths() if less < depth and self.work.is_done(less, SCORES)]
            same = self._settings(config) if done else {}
            found = [less for less in done if same.items() <= self._of_depth(less)[1].lineage.items()]
            fs.create_exclusive(where, json.dumps(found).encode())
        return [int(less) for less in json.loads(fs.read_bytes(where))]

    def _settings(self, config: RerankConfig) -> dict[str, Any]:
        """Parts of the lineage of scores that are settled by the flags."""
        if self.scorer is not None:
            facts = injected_scorer(config, self.scorer)
        else:
            facts, _ = inspect_cross_encoder(config, config.cross_encoder)
        named = {name: getattr(config, name) for name in ("backend", "dtype") if getattr(config, name) != AUTO}
        return {**facts.settings, **named}

    def _of_depth(self, depth: int) -> tuple[ScoredPairs, Manifest]:
        """The scores that were made at a depth, and their manifest."""
        work = self.work
        asked = read_manifest(work.at_depth(depth, UNSCORED if work.is_done(depth, UNSCORED) else CANDIDATES))
        folder = work.at_depth(depth, SCORES)
        found = read_manifest(folder)
        return ScoredPairs.of(asked, found, folder), found

    def _for_unscored(self, config: RerankConfig, depth: int, known: Manifest) -> RerankConfig:
        """To score what is left as the rest was scored."""
        computed = {name: known.lineage[name] for name in ("backend", "dtype") if getattr(config, name) == AUTO}
        return replace(config, hits=self.work.at_depth(depth, UNSCORED), **computed)

    def _rerank_config(self, texts: PairTexts, depth: int) -> RerankConfig:
        return RerankConfig(
            hits=self.work.at_depth(depth, CANDIDATES),
            queries=(texts.anchors.data,),
            corpus=(texts.corpus.data,),
            cross_encoder=self.config.cross_encoder or "",
            output=self.work.at_depth(depth, SCORES),
            id_column="id",
            text_columns=_TEXT,
            corpus_id_column="id",
            corpus_text_columns=_TEXT,
            **self._flags,
        )

    @property
    def _flags(self) -> dict[str, Any]:
        """Those of a `CrossEncoderConfig`."""
        config = self.config
        return {
            **{field.name: getattr(config, field.name) for field in fields(ComputeConfig)},
            **{name: getattr(config, name) for name in MACHINES},
            "file_name": config.cross_encoder_file_name,
            "max_seq_length": config.cross_encoder_max_seq_length,
            "activation": config.activation,
            "min_correlation": config.min_correlation,
            "seed": config.seed,
        }
