"""Hits as plain Python: rankings to tables and folders and back, and fusion by its definition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.search.fusion import Fusion
from st_ray.store.hits import KIND, SUFFIXES, HitsFormat, hits_bytes, hits_table, read_hits
from st_ray.store.manifest import Manifest, read_manifest
from st_ray.store.output import OutputFolder, Part, part_name

# {query: [(document, score), …]}, best first.
Rankings = dict[Any, list[tuple[Any, float]]]


def table_of(rankings: Rankings) -> pa.Table:
    hits = [hit for ranking in rankings.values() for hit in ranking]
    queries, documents = list(rankings), [document for document, _ in hits]
    return hits_table(
        pa.array(queries) if queries else pa.array([], pa.string()),
        [len(ranking) for ranking in rankings.values()],
        pa.array(documents) if documents else pa.array([], pa.string()),
        np.array([score for _, score in hits], np.float32),
    )


def rankings_of(table: pa.Table) -> Rankings:
    """The ranking of each query; ranks must be 1, 2, 3 and so on, and all rows of a query together."""
    found: Rankings = {}
    before = None
    for row in table.to_pylist():
        assert row["query_id"] == before or row["query_id"] not in found
        before = row["query_id"]
        ranking = found.setdefault(before, [])
        ranking.append((row["corpus_id"], row["score"]))
        assert row["rank"] == len(ranking)
    return found


def write_hits(folder: Path | str, rankings: Rankings, cuts: Sequence[int] = (), form: HitsFormat = "parquet") -> str:
    """A finished folder of hits, its queries cut into parts."""
    output = OutputFolder(str(folder), KIND)
    output.clear()
    writer = output.begin({})
    queries = list(rankings)
    entries = []
    for number, (begin, end) in enumerate(zip((0, *cuts), (*cuts, len(queries)), strict=True)):
        table = table_of({query: rankings[query] for query in queries[begin:end]})
        name = part_name(number, len(cuts) + 1, SUFFIXES[form])
        entries.append(writer.commit(name, Part(hits_bytes(table, form), len(table), begin)))
    output.finish(Manifest(KIND, {}, tuple(entries)))
    return output.folder


def read_folder(folder: Path | str) -> Rankings:
    """The rankings in a finished folder of hits."""
    entries = read_manifest(str(folder)).entries
    return rankings_of(pa.concat_tables(read_hits(str(folder), entry) for entry in entries if entry.rows))


def fused_by_formula(sets: Sequence[Rankings], fusion: Fusion) -> Rankings:
    """The definition."""
    found: Rankings = {}
    for query in dict.fromkeys(query for rankings in sets for query, ranking in rankings.items() if ranking):
        sums: dict[Any, float] = defaultdict(float)
        best: dict[Any, int] = {}
        for rankings, weight in zip(sets, fusion.weights, strict=True):
            ranking = rankings.get(query, [])
            scores = [score for _, score in ranking]
            for rank, (document, score) in enumerate(ranking, start=1):
                if fusion.method == "rrf":
                    sums[document] += weight / (fusion.rrf_k + rank)
                elif fusion.normalize == "none":
                    sums[document] += weight * score
                elif max(scores) == min(scores):
                    sums[document] += weight
                else:
                    sums[document] += weight * ((score - min(scores)) / (max(scores) - min(scores)))
                best[document] = min(rank, best.get(document, rank))
        ranked = sorted(sums, key=lambda document: (-sums[document], best[document], document))
        found[query] = [(document, float(np.float32(sums[document]))) for document in ranked[: fusion.top_k]]
    return found
