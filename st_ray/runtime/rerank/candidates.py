"""From hits, queries and corpus to shards of candidates with their texts, none of which need fit into memory.

    OUTPUT/staging/pairs         the pairs as a folder of hits, where they come from a single file or from no retrieval
    OUTPUT/staging/candidates    plan.json: the shards, and which tasks copy texts; data/: a part of texts for each

A worker that scores a shard reads its rows of the hits, and its row group of a few parts of texts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.runtime.corpus import Corpus, ScanRequest, flags_of_a_corpus, prepare_corpus, stamps_digest
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.rerank.in_document import list_candidates
from st_ray.runtime.rerank.pairs import Cut, PairFolder, PartRows, read_pairs, split_file
from st_ray.runtime.rerank.places import find_pair_places
from st_ray.runtime.shuffle import spread
from st_ray.runtime.texts_by_id.ids import distinct_ids
from st_ray.runtime.texts_by_id.places import Sides
from st_ray.runtime.texts_by_id.staged import PLAN, begin_anew, read_places, stage_texts, texts_lineage
from st_ray.runtime.texts_by_id.texts import text_side
from st_ray.store import fs
from st_ray.store.hit_sets import HitSet
from st_ray.store.hits import KIND as HITS
from st_ray.store.lineage import Lineage, lineage_differences
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.output import STAGING, OutputFolder, Writer
from st_ray.store.staged_texts import read_staged_texts

KIND = "candidates"
PART_PAIRS = 250_000
"""Pairs of a part of those that are staged, about."""


@dataclass(frozen=True)
class CandidateRequest:
    """What is to be paired.

    Attributes:
        queries: their texts, see `text_request`.
        corpus: the documents' texts.
        hits: which documents belong to which queries; None: all of the corpus, or of the query's own document.
        document_column: without hits: the column of both sides that says which document a row belongs to.
        shard_pairs: pairs of a shard, about: it holds whole queries.
        actors: the flag.
    """

    queries: ScanRequest
    corpus: ScanRequest
    hits: HitSet | None
    document_column: str | None = None
    shard_pairs: int = 50_000
    actors: str = "auto"

    @property
    def name(self) -> str:
        """What to call the pairs in an error."""
        return self.hits.url if self.hits is not None else "the candidates"

    @property
    def stamps(self) -> dict[str, str]:
        """Of the files of texts: while they are equal, these need not be scanned again."""
        return {"queries": stamps_digest(self.queries.files), "corpus": stamps_digest(self.corpus.files)}

    def lineage(self, digests: Mapping[str, Any]) -> Lineage:
        """What identifies the candidates; `digests` are those of queries and corpus, by these names."""
        return {
            "hits": self.hits.digest if self.hits else None,
            "document_column": self.document_column,
            "shard_pairs": self.shard_pairs,
            **texts_lineage(self.queries, self.corpus, digests),
        }


@dataclass(frozen=True)
class CandidateShard:
    """Some queries and all of their candidates: a task for whoever scores them.

    Attributes:
        slot: what its texts are staged for.
        first_pair: number of its first pair among all.
        rows: where its pairs lie.
        query_files: parts of texts that may hold its queries.
        document_files: parts of texts that may hold its documents.
    """

    number: int
    slot: int
    first_pair: int
    pairs: int
    queries: int
    rows: tuple[PartRows, ...]
    query_files: tuple[str, ...]
    document_files: tuple[str, ...]


@dataclass(frozen=True)
class Candidates:
    """All shards, in the order of the hits.

    Attributes:
        lineage: what identifies them, with the digests of hits, queries and corpus.
        texts: of documents, each once a shard that wants it.
        skipped: rows of queries and of the corpus that were left out as bad ones.
    """

    shards: tuple[CandidateShard, ...]
    pairs: int
    queries: int
    lineage: Lineage
    texts: int
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class CandidateBlock:
    """What a worker reads for one shard: q queries, n candidates, m distinct documents.

    Attributes:
        query_ids: `[q]` string or int64, in the order of the hits.
        counts: int64 `[q]`, candidates of each query; at least 1.
        corpus_ids: `[n]` string or int64, query by query.
        scores: float32 `[n]`, of the retrieval; nan where there was none.
        query_texts: `[q]`.
        texts: `[m]`, of the documents.
        text_of: int32 `[n]`, each candidate's position in `texts`.
    """

    query_ids: pa.Array
    counts: np.ndarray
    corpus_ids: pa.Array
    scores: np.ndarray
    query_texts: list[str]
    texts: list[str]
    text_of: np.ndarray


def prepare_candidates(request: CandidateRequest, folder: str, lock: OutputLock) -> Candidates:
    """Find and stage the texts of all pairs, unless that is done; needs a Ray session.

    Args:
        folder: the job's output.
        lock: held on it.

    Raises:
        ConfigError: without hits, a query would have too many candidates.
        InputError: files that cannot be read, ids that occur twice or have no text, queries without a word, a query
            that has a document twice.
        ShardError: some texts could not be staged; the others are kept.
    """
    output = OutputFolder(fs.join(folder, STAGING, KIND), KIND, beside=(PLAN,))
    done = _done(request, folder, output)
    if done is not None:
        return done
    queries = prepare_corpus(request.queries)
    with flags_of_a_corpus():
        corpus = prepare_corpus(request.corpus)
    lineage = request.lineage({"queries": queries.digest, "corpus": corpus.digest})
    pairs = _pairs(request, folder, lineage) or _stage_pairs(request, folder, lineage, queries, corpus)
    if not pairs.pairs:
        raise InputError(f"{pairs.name} holds no hits", "search first, or name another --hits")
    # A query without a word is a mistake; a document may be empty.
    query_side = text_side("query", queries, request.queries.on_bad_row, in_words=True, asked_once=True)
    sides: Sides = {
        "query": (query_side, queries),
        "document": (text_side("document", corpus, request.corpus.on_bad_row), corpus),
    }
    find = functools.partial(find_pair_places, pairs, request.shard_pairs, sides)
    manifest = stage_texts(output, lineage, sides, find, request.stamps, lock, request.actors)
    return _candidates(pairs, output.folder, manifest)


def read_candidates(shard: CandidateShard) -> CandidateBlock:
    """Read a shard. Memory: its texts, and the parts of hits that it lies in.

    Raises:
        InputError: the hits changed meanwhile, or a file is missing or damaged.
    """
    pairs = read_pairs(shard.rows)
    if (len(pairs.counts), len(pairs.scores)) != (shard.queries, shard.pairs):
        raise InputError(
            f"{shard.rows[0].folder}: {len(pairs.scores)} hits of {len(pairs.counts)} queries, where {shard.pairs} of "
            f"{shard.queries} were found before",
            "leave the hits alone while a job runs; start it again with --overwrite",
        )
    distinct, text_of = distinct_ids(pairs.corpus_ids)
    return CandidateBlock(
        query_ids=pairs.query_ids,
        counts=pairs.counts,
        corpus_ids=pairs.corpus_ids,
        scores=pairs.scores,
        query_texts=read_staged_texts(shard.query_files, shard.slot, shard.queries),
        texts=read_staged_texts(shard.document_files, shard.slot, len(distinct)),
        text_of=text_of,
    )


def _done(request: CandidateRequest, folder: str, output: OutputFolder) -> Candidates | None:
    """What an earlier run staged, if it is complete and the files are those of then; nothing is scanned for that."""
    manifest = output.manifest()
    if manifest is None or manifest.about["stamps"] != request.stamps:
        return None
    if lineage_differences(request.lineage(manifest.lineage), manifest.lineage):
        return None
    pairs = _pairs(request, folder, manifest.lineage)
    if pairs is None:
        return None
    return _candidates(pairs, output.folder, manifest)


def _pairs(request: CandidateRequest, folder: str, lineage: Lineage) -> PairFolder | None:
    """The pairs, where they lie in parts already: the hits of a job, or what was staged with this lineage."""
    hits = request.hits
    if hits is not None and hits.entries is not None:
        return PairFolder(hits.url, hits.entries, request.name)
    output = _pairs_output(folder)
    manifest = output.manifest()
    if manifest is None or lineage_differences(manifest.lineage, lineage):
        return None
    return PairFolder(output.folder, manifest.entries, request.name)


def _stage_pairs(
    request: CandidateRequest, folder: str, lineage: Lineage, queries: Corpus, corpus: Corpus
) -> PairFolder:
    """Put the hits of a single file, which one worker holds whole, or all pairs there can be, into parts.

    A run that is cut short here begins anew: it is a matter of ids alone.
    """
    output = _pairs_output(folder)
    writer = begin_anew(output, lineage)
    if request.hits is not None:
        entries = result_of(spread(_split, [(request.hits, writer, PART_PAIRS)], 1)[0][0])
    else:
        sides = ((request.queries, queries), (request.corpus, corpus))
        entries = list_candidates(*sides, request.document_column, writer, PART_PAIRS)
    output.finish(Manifest(HITS, lineage, tuple(entries)))
    return PairFolder(output.folder, tuple(entries), request.name)


def _pairs_output(folder: str) -> OutputFolder:
    return OutputFolder(fs.join(folder, STAGING, "pairs"), HITS)


def _split(hits: HitSet, writer: Writer, part_pairs: int) -> list[list[ShardEntry]]:
    return [split_file(hits, writer, part_pairs)]


def _candidates(pairs: PairFolder, folder: str, manifest: Manifest) -> Candidates:
    """What is staged in `folder`."""
    places = read_places(folder, Cut)
    files = places.files(folder, manifest.entries)
    shards = []
    cuts: tuple[Cut, ...] = places.cuts
    for number, cut in enumerate(cuts):
        range_number = places.range_of(cut.slot)
        shards.append(
            CandidateShard(
                number,
                *cut,
                rows=pairs.rows(cut.first_pair, cut.first_pair + cut.pairs),
                query_files=files["query", range_number],
                document_files=files["document", range_number],
            )
        )
    return Candidates(
        shards=tuple(shards),
        pairs=sum(cut.pairs for cut in cuts),
        queries=sum(cut.queries for cut in cuts),
        lineage=manifest.lineage,
        texts=sum(task.rows for task in places.tasks if task.role == "document"),
        skipped=manifest.about["skipped"],
    )
