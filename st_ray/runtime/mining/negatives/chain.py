"""The steps before the result: texts, embeddings, hits, candidates, scores, each a finished folder of --work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from st_ray.mining.rules import default_range_max
from st_ray.models.folder import read_model_folder
from st_ray.models.source import resolve_model
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.config import ComputeConfig, Names
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.mining.negatives.candidates import Searched, prepare_candidates
from st_ray.runtime.mining.negatives.config import MACHINES, MineHardNegativesConfig
from st_ray.runtime.mining.negatives.inputs import TextRequest
from st_ray.runtime.mining.negatives.rescoring import Rescoring
from st_ray.runtime.mining.negatives.scores import ScoredPairs
from st_ray.runtime.mining.negatives.stored import StoredTexts
from st_ray.runtime.mining.negatives.texts import PairTexts, prepare_texts
from st_ray.runtime.mining.negatives.work import CANDIDATES, CORPUS, HITS, INDEX, QUERIES, SCORES, TEXTS, Work
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.job import search
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.manifest import Manifest, content_digest

_QUERIES_OF_A_SHARD = 10_000
_HITS_OF_A_SHARD = 4_000_000
_RESCORED = 2
"""Of an index, so many times as many hits as are wanted are scored by their embeddings."""


@dataclass(frozen=True)
class Mineable:
    """What all steps together leave.

    Attributes:
        range_max: as asked for, or what suits the data.
        candidates: folder of them.
        candidate_parts: its manifest.
        scored: the cross-encoder's scores of the same pairs; none without one.
        scorer: what a reader wants to know of it; empty without one.
        documents: embeddings of the corpus.
        queries: embeddings of the anchors.
        similarity: its name.
    """

    texts: PairTexts
    range_max: int
    candidates: str
    candidate_parts: Manifest
    scored: tuple[ScoredPairs, ...]
    scorer: Mapping[str, Any]
    documents: StoredVectors
    queries: StoredVectors
    similarity: str

    @property
    def digests(self) -> dict[str, Any]:
        """Of the content of what a result is made from."""
        return {
            "texts": self.texts.digest,
            "candidates": content_digest("".join(entry.digest for entry in self.candidate_parts.entries).encode()),
            "scores": [some.digest for some in self.scored],
        }


@dataclass(frozen=True)
class Chain:
    """The steps, each done unless it is.

    Attributes:
        loader: an encoder of the caller's own.
    """

    config: MineHardNegativesConfig
    loader: EncoderLoader | None
    rescoring: Rescoring
    work: Work

    def check_models(self) -> None:
        """Raise ModelError or ConfigError for what cannot be used; no weights are loaded for that."""
        if self.loader is None:
            folder = read_model_folder(resolve_model(self.config.model))
            for side in ("query", "corpus"):
                folder.prompt(getattr(self.config, f"{side}_prompt"), getattr(self.config, f"{side}_prompt_name"))
        self.rescoring.check()

    def texts(self, request: TextRequest) -> PairTexts:
        """The texts; raises what `prepare_texts` raises."""
        folder = self.work.place(TEXTS)
        with self.work.step(TEXTS, folder):
            return prepare_texts(request, folder, self.work.start_ray, self.config.actors)

    def mineable(self, texts: PairTexts) -> Mineable:
        """All the rest; raises what the jobs of the steps raise."""
        config, rescoring = self.config, self.rescoring
        range_max = config.range_max or default_range_max(
            config.filters, config.num_negatives, texts.about["most_positives"], rescored=rescoring.wanted
        )
        documents = self._encoded(CORPUS, texts.corpus, "document", config.reuse_corpus)
        queries = self._encoded(QUERIES, texts.anchors, "query", config.reuse_queries)
        depth = self._depth(range_max)
        searched = self._searched(texts, depth, documents, queries)
        candidates = self.work.at_depth(depth, CANDIDATES)
        with self.work.step(CANDIDATES, candidates):
            parts = prepare_candidates(searched, candidates, self.work.start_ray, config.actors)
        scored, scorer = rescoring.scored(texts, depth, parts) if rescoring.wanted else ((), {})
        return Mineable(
            texts, range_max, candidates, parts, scored, scorer, documents, queries, searched.similarity.name
        )

    def _depth(self, range_max: int) -> int:
        """The least depth that is done and will do, else `range_max`."""
        last = SCORES if self.rescoring.wanted else CANDIDATES
        deeper = (depth for depth in self.work.depths() if depth >= range_max)
        return next((depth for depth in deeper if self.work.is_done(depth, last)), range_max)

    def _encoded(self, name: str, texts: StoredTexts, usual: str, reuse: str | None) -> StoredVectors:
        """The embeddings of texts; `usual` is the name of the prompt where none is given."""
        config, folder = self.config, self.work.place(name)
        side = "corpus" if name == CORPUS else "query"
        prompt, prompt_name = getattr(config, f"{side}_prompt"), getattr(config, f"{side}_prompt_name")
        if prompt is None and prompt_name is None and self.loader is None:
            prompt_name = usual if usual in read_model_folder(resolve_model(config.model)).prompts else None
        with self.work.step(f"encode {name}", folder):
            encode(
                EncodeConfig(
                    input=(texts.data,),
                    model=config.model,
                    output=folder,
                    id_column="id",
                    text_columns=Names(("text",)),
                    prompt=prompt,
                    prompt_name=prompt_name,
                    normalize=config.normalize,
                    truncate_dim=config.truncate_dim,
                    shard_rows=config.shard_rows,
                    min_cosine=config.min_cosine,
                    reuse=reuse,
                    check_ids=False,
                    **{field.name: getattr(config, field.name) for field in fields(ComputeConfig)},
                    **self._machines,
                ),
                self.loader,
                self.work.session,
            )
        return StoredVectors.open(folder)

    def _index(self) -> str:
        folder = self.work.place(INDEX)
        with self.work.step(INDEX, folder):
            config = BuildIndexConfig(
                embeddings=self.work.place(CORPUS),
                output=folder,
                factory=str(self.config.factory),
                target_recall=self.config.target_recall,
                **self._machines,
            )
            build_index(config, self.work.session)
        return folder

    def _searched(self, texts: PairTexts, depth: int, documents: StoredVectors, queries: StoredVectors) -> Searched:
        index = self._index() if self.config.factory else None
        folder = self.work.at_depth(depth, HITS)
        top_k = min(depth + texts.about["most_left_out"], texts.corpus.rows)
        queries_of_a_shard = max(1, min(_QUERIES_OF_A_SHARD, _HITS_OF_A_SHARD // top_k))
        with self.work.step(HITS, folder):
            config = SearchConfig(
                queries=(queries.folder,),
                embeddings=documents.folder,
                index=index,
                rescore_multiplier=_RESCORED if index else None,
                output=folder,
                top_k=top_k,
                shard_rows=queries_of_a_shard,
                keep_gib=self.config.keep_gib,
                **self._machines,
            )
            found = search(config, session=self.work.session)
        similarity = similarity_of(str(found.manifest.lineage["similarity"]))
        return Searched(folder, queries_of_a_shard, texts.corpus, texts.anchors, documents, queries, similarity)

    @property
    def _machines(self) -> dict[str, Any]:
        """The flags that say on what the jobs of the steps run."""
        return {name: getattr(self.config, name) for name in MACHINES}
