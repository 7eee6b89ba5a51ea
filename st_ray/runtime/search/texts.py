"""Texts of queries and of a corpus: what is read of them, and queries as lists of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from st_ray.core.errors import InputError
from st_ray.runtime.corpus import Corpus, ScanRequest, flags_of_a_corpus
from st_ray.runtime.search.base import Queries, QueryBlock
from st_ray.runtime.search.config import SearchConfig
from st_ray.search.lexical import Words
from st_ray.store import fs
from st_ray.store.manifest import MANIFEST
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import TextBlock, read_shard
from st_ray.store.readers.sources import resolve_inputs
from st_ray.store.readers.spec import ReadSpec


def corpus_request(config: SearchConfig, staging: str) -> ScanRequest:
    """The scan of --bm25; compressed texts are re-cut into the folder `staging`. Raises what `query_request` raises."""
    with flags_of_a_corpus():
        files, spec = _resolve("--bm25", config.bm25, config.corpus_read_spec(config.quotes))
    return ScanRequest(files, spec, config.bm25_shard_rows, staging, config.on_bad_row)


def query_request(config: SearchConfig) -> ScanRequest:
    """The scan of --queries. Raises InputError for what is not there, has no such column, or is a job's output."""
    files, spec = _resolve("--queries", config.queries, config.read_spec())
    return ScanRequest(files, spec, config.shard_rows, None, config.on_bad_row)


def _resolve(flag: str, named: Sequence[str], spec: ReadSpec) -> tuple[Any, ReadSpec]:
    for place in named:
        if fs.is_file(fs.join(place, MANIFEST)):
            raise InputError(f"{flag} {place} is the output of a job, not texts", "name files, folders or globs")
    files, spec = resolve_inputs(named, spec)
    return tuple(files), spec


def text_queries(corpus: Corpus, on_bad_row: Literal["fail", "skip"], words: Words) -> Queries:
    """The rows of text files as queries."""
    return Queries(
        rows=corpus.rows - corpus.bad_rows,
        shards=corpus.shards,
        sizes=[shard.rows for shard in corpus.shards],
        read=ReadWords(corpus.spec, on_bad_row, words),
        describe=describe_rows,
    )


def describe_rows(shard: ShardPlan) -> str:
    """What to call a shard in an error."""
    return f"rows {shard.first_row:,} to {shard.first_row + shard.rows - 1:,}"


@dataclass(frozen=True)
class ReadWords:
    """A shard of queries from files of texts."""

    spec: ReadSpec
    on_bad_row: Literal["fail", "skip"]
    words: Words

    def __call__(self, shard: ShardPlan) -> QueryBlock:
        """The queries; raises what `texts` raises."""
        block = self.texts(shard)
        return QueryBlock(block.ids, self.words.of(block.texts), shard.first_row, block.rejects)

    def texts(self, shard: ShardPlan) -> TextBlock:
        """The queries as they are read; raises InputError for an empty one."""
        block = read_shard(shard, self.spec, on_bad_row=self.on_bad_row)
        for position, text in enumerate(block.texts):
            if not text.strip():
                raise InputError(
                    f"query {block.ids[position].as_py()!r} (row {block.rows[position] + 1:,}) is empty",
                    "give it a text, or leave the row out",
                )
        return block
