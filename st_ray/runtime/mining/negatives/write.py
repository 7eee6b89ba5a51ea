"""The last step: chosen pairs and their texts as tables for trainers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from st_ray.mining.candidates import Candidates, QueryGroups
from st_ray.mining.formats import Layout, Mined, rows_wanted, to_table
from st_ray.runtime.mining.negatives.choose import NEGATIVE, POSITIVE
from st_ray.runtime.mining.negatives.pairs import PairRows, joined_rows, read_pair_rows
from st_ray.runtime.rerank.candidates import CandidateShard, read_candidates
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.output import Part


def mined_of(pairs: PairRows, wanted: int, texts: tuple[pa.Array, pa.Array, np.ndarray] | None = None) -> Mined:
    """Chosen pairs, as the formats take them.

    Args:
        wanted: negatives of each query.
        texts: of the queries, of documents, and which of these each pair has, int64 `[n]`; None where nobody asks for
            texts.
    """
    role = pairs.columns["role"]
    positive, negative = np.flatnonzero(role & POSITIVE), np.flatnonzero(role & NEGATIVE)
    negative = negative[np.lexsort((pairs.document[negative], -pairs.scores[negative], pairs.query[negative]))]
    nothing = pa.nulls(len(pairs.query_ids), pa.large_string())
    queries, documents, text_of = texts or (nothing, nothing[:0], pairs.document)
    groups = QueryGroups(
        queries, documents, pairs.query[positive], text_of[positive], np.full(len(queries), -1), added=0
    )
    negatives = Candidates(pairs.query[negative], text_of[negative], pairs.scores[negative])
    return Mined(groups, pairs.scores[positive], negatives, wanted)


@dataclass(frozen=True)
class WriteTable:
    """Makes a part of the result of a shard of chosen pairs."""

    output_format: str
    layout: Layout
    num_negatives: int

    def __call__(self, shard: CandidateShard) -> Part:
        """The part, ready to be published. Memory: its texts, some times over."""
        block = read_candidates(shard)
        pairs = joined_rows([read_pair_rows(part.folder, part.entry, part.first, part.last) for part in shard.rows])
        texts = (pa.array(some, pa.large_string()) for some in (block.query_texts, block.texts))
        mined = mined_of(pairs, self.num_negatives, (*texts, block.text_of.astype(np.int64)))
        table = to_table(mined, self.output_format, self.layout)
        figures = {"wanted": rows_wanted(mined, self.output_format)}
        return Part(parquet_bytes(table), len(table), shard.first_pair, figures=figures)
