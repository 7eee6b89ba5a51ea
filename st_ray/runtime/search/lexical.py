"""Search by words: the term counts of a corpus, weighed in actors, and queries that are texts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from st_ray.runtime.corpus import Corpus, ScanRequest, prepare_corpus, reading_lineage
from st_ray.runtime.joining import job_session
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.resources import ActorPlan, cluster_can_grow, cluster_nodes, plan_actors
from st_ray.runtime.search.base import TERMS, Ready
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.pool import Searcher, Share, consecutive
from st_ray.runtime.search.terms import count_terms
from st_ray.runtime.search.texts import ReadWords, corpus_request, query_request, text_queries
from st_ray.search.lexical import Bm25, LexicalSearcher, Words
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.output import STAGING
from st_ray.store.terms import StoredTerms

_ACTOR_BYTES = 1 << 28
_LOADING_BYTES = 32
"""For each distinct word of each document, while an actor loads."""


@dataclass(frozen=True)
class LexicalSearch:
    """See `SearchKind`.

    Attributes:
        corpus: what its scan needs to know.
        queries: checked, counted and cut.
    """

    config: SearchConfig
    corpus: ScanRequest
    queries: Corpus
    words: Words
    own: ClassVar[str] = TERMS

    @classmethod
    def open(cls, config: SearchConfig, session: ExitStack) -> LexicalSearch:
        """Find the files, and check the queries; `session` takes over the Ray session if they are large.

        Raises:
            ConfigError: there is no such stemmer.
            InputError: no such file or column, the output of a job, or bad queries.
        """
        words = Words(config.bm25_stopwords, config.bm25_stemmer)
        words.check()
        corpus = corpus_request(config, fs.join(config.output, TERMS, STAGING))
        request = query_request(config)
        if not request.small:
            session.enter_context(job_session(config))
        scanned = prepare_corpus(request)
        if request.small:
            reader = ReadWords(scanned.spec, config.on_bad_row, words)
            for shard in scanned.shards:
                reader.texts(shard)  # an empty one shows before the corpus is counted
        return cls(config, corpus, scanned, words)

    @property
    def lineage(self) -> Lineage:
        """See `SearchKind`."""
        config = self.config
        return {
            # Their counts are an output of their own, with a lineage of its own.
            "bm25": TERMS,
            "method": config.bm25_method,
            "k1": config.bm25_k1,
            "b": config.bm25_b,
            "queries": self.queries.digest,
            **reading_lineage(self.queries.spec, config.on_bad_row),
            "top_k": config.top_k,
            "format": config.format,
            "shard_rows": config.shard_rows,
        }

    def ready(self, output: str, session: ExitStack) -> Ready:
        """See `SearchKind`: the words of the corpus are counted."""
        config = self.config
        folder = fs.join(output, TERMS)
        counted = count_terms(config, self.corpus, self.words, folder, session)
        formula = Bm25(config.bm25_method, config.bm25_k1, config.bm25_b)
        about = {
            "scores": str(formula),
            "corpus_rows": counted.rows,
            "corpus_rows_left_out": sum(counted.dropped.values()),
            "corpus_digest": counted.lineage["input"],
            "searched": " ".join(config.bm25),
            "terms": counted.about["terms"],
        }
        queries = text_queries(self.queries, config.on_bad_row, self.words)
        return Ready(LexicalTarget(StoredTerms(folder, counted.entries), formula), queries, about)


@dataclass(frozen=True)
class LexicalTarget:
    """See `SearchTarget`."""

    terms: StoredTerms
    formula: Bm25

    def plan(self, config: SearchConfig) -> ActorPlan:
        """See `SearchTarget`; it is all NumPy, on one CPU an actor."""
        entries = self.terms.entries
        largest = max(int(entry.figures["distinct"]) for entry in entries)
        return plan_actors(
            cluster_nodes(),
            shards=len(entries),
            actor_bytes=_ACTOR_BYTES + _LOADING_BYTES * largest,
            actors=config.actors,
            gpus_per_actor=0.0,
            cpus_per_actor=config.cpus_per_actor,
            can_grow=cluster_can_grow(),
        )

    def shares(
        self, plan: ActorPlan, keep_bytes: int, meter: MeterClient | None
    ) -> tuple[list[Share], list[list[int]]]:
        """See `SearchTarget`: consecutive parts, which are kept in any case."""
        terms = self.terms
        cuts = consecutive([entry.bytes for entry in terms.entries], min(plan.maximum, len(terms.entries)))
        shares = [
            Share(
                make=Weighed(terms, low, high, self.formula),
                rows=terms,
                first=int(terms.offsets[low]),
                last=int(terms.offsets[high]),
                meter=meter,
            )
            for low, high in itertools.pairwise(cuts)
        ]
        return shares, [[number] for number in range(len(shares))]


@dataclass(frozen=True)
class Weighed:
    """The parts `low` up to before `high`; what an actor makes its searcher with."""

    terms: StoredTerms
    low: int
    high: int
    formula: Bm25

    def __call__(self, count: Callable[[float], None]) -> Searcher:
        """The searcher; `count` is told of done work."""
        terms = self.terms
        first, last = int(terms.offsets[self.low]), int(terms.offsets[self.high])
        return LexicalSearcher(
            map(terms.counts, range(self.low, self.high)),
            terms.statistics(),
            self.formula,
            first,
            on_search=lambda: count((last - first) / max(terms.rows, 1)),
        )
