"""Hard negatives: for each query documents that are close to it, but are none of its positives.

A query's positives are all those that the dataset gives it anywhere. Its closest documents, less its positives and its
own text, are its candidates. Filters take away those that may be positives nobody has marked, or that are no use; the
best of the rest, or a random sample, are its negatives. What is found for a query depends on this query, the documents
and the rules alone, so that queries may be shared out in any way.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from st_ray.mining.candidates import Candidates, QueryGroups, group, left_out, without
from st_ray.mining.closest import closest, cross_scores, pair_scores
from st_ray.mining.filters import Dropped, Filters
from st_ray.mining.formats import FORMATS, Layout, Mined, table_names, to_table
from st_ray.mining.negative_statistics import render, report_of
from st_ray.mining.pair_texts import column_names, corpus_texts, pair_texts
from st_ray.mining.rules import Rules, check_name, default_range_max, least_scores, select
from st_ray.mining.sampling import text_codes
from st_ray.scoring.similarity import Similarity, similarity_of
from st_ray.scoring.tensors import to_tensor


def mine_hard_negatives(
    dataset: Any,
    model: Any,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: list[str] | None = None,
    cross_encoder: Any = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: str = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: str = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: list[str] | bool = False,
    verbose: bool = True,
    cache_folder: str | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
    *,
    seed: int = 0,
) -> Any:
    """A dataset of queries and positives with hard negatives beside them.

    The scores that filters, ranks and the result speak of are those of the cross-encoder where one is given, else the
    similarities of the normalized embeddings, by the model's own measure, as sums in float64 rounded to float32.

    Args:
        dataset: a `datasets.Dataset` of strings. Rows of one anchor give it several positives; equal rows count once.
        model: what has the `encode` of `BiEncoder`, or of Sentence Transformers. Where it has `encode_query` and
            `encode_document`, these are used.
        anchor_column_name: column of the queries; None for the first one.
        positive_column_name: column of the positives; None for the first one besides.
        corpus: documents to find negatives among; None for the positives of all queries. Positives that it lacks are
            added, empty texts left out.
        cross_encoder: what has the `predict` of `CrossEncoder`, or of Sentence Transformers, for one label.
        range_min: skip so many of a query's candidates, the best-scoring ones, whether or not a filter would drop them.
        range_max: how many of a query's closest documents are candidates. Before its positives and its own text are
            left out, as many more are looked at. None for `range_min`, the greatest number of positives of a query, and
            `num_negatives` or, where a margin, `max_score` or a cross-encoder may leave less of them, ten times that.
        max_score: drop candidates with a greater score.
        min_score: drop candidates with a smaller score.
        absolute_margin: drop candidates whose score is not at least so far below the least score of the query's own
            positives.
        relative_margin: the same, in parts of the absolute value of that score.
        num_negatives: negatives for each query.
        sampling_strategy: `top` for the candidates that score best, or `random`; never one that was dropped.
        query_prompt_name: name of one of the model's prompts, to put before every query.
        query_prompt: the prompt itself; wins over `query_prompt_name`.
        corpus_prompt_name: name of one of the model's prompts, to put before every document.
        corpus_prompt: the prompt itself; wins over `corpus_prompt_name`.
        include_positives: let the query's positives be among its negatives, in the order of their scores; the format is
            then `n-tuple`.
        output_format: see below.
        output_scores: add scores, or put them in place of labels.
        batch_size: texts or pairs of a batch at most.
        faiss_batch_size: queries that are searched at a time, at most; it never changes the result.
        use_faiss: accepted, and of no effect: search is exact, and the same, in either case.
        use_multi_process: accepted, and of no effect: models run on the device that they were loaded on.
        verbose: print progress, the distribution of scores, and what was dropped.
        cache_folder: accepted, and of no effect: nothing is written.
        as_triplets: older name: True for the format `triplet`, False for `n-tuple`.
        margin: older name of `absolute_margin`.
        seed: of the random sample, which depends on nothing else but the texts.

    Returns:
        A `datasets.Dataset`, queries and positives in the order of their first appearance, negatives best first, ties
        by the order of the corpus:

        - `triplet`: anchor, positive, `negative`; with scores also `scores`, those of positive and negative.
        - `n-tuple`: anchor, positive, `negative_1`, ..., for queries that have all their negatives; with scores also
          `scores`, that of the positive first.
        - `labeled-pair`: anchor, text, and `label`, 1 for positives and 0 for negatives, or `score`.
        - `labeled-list`: anchor, a list of the positive and its negatives, and `labels`, or `scores`.

    Raises:
        ImportError: `datasets` is not installed.
        TypeError: no dataset, or something else than a string in it or in the corpus; the row is named.
        ValueError: a column that is missing, an empty dataset or text, arguments that make no sense, embeddings or
            scores that are not finite.
    """
    dataset_class = _dataset_class()
    anchor, positive = column_names(dataset, anchor_column_name, positive_column_name)
    output_format, output_scores = _format(output_format, output_scores, as_triplets, include_positives)
    if margin is not None:
        absolute_margin = margin
        warnings.warn("margin is the older name of absolute_margin", FutureWarning, stacklevel=2)
    for name, value in (("batch_size", batch_size), ("faiss_batch_size", faiss_batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    layout = Layout(anchor, positive, output_scores)
    table_names(output_format, layout, num_negatives)
    similarity = _similarity(model)
    filters = Filters(range_min, absolute_margin, relative_margin, max_score, min_score)
    say = print if verbose else _silent

    anchors, positives = pair_texts(dataset, anchor, positive)
    given, empty = (None, 0) if corpus is None else corpus_texts(corpus)
    groups = group(anchors, positives, given)
    if range_max is None:
        range_max = default_range_max(
            filters, num_negatives, int(groups.positives.max()), rescored=cross_encoder is not None
        )
        say(f"Setting range_max to {range_max} based on the provided parameters.")
    rules = Rules(num_negatives, range_max, filters, sampling_strategy, seed, include_positives)
    _describe(groups, len(anchors), empty, say)

    queries = _encoded(model, "query", groups.queries, query_prompt_name, query_prompt, batch_size, verbose)
    documents = _encoded(model, "document", groups.documents, corpus_prompt_name, corpus_prompt, batch_size, verbose)
    with torch.no_grad():
        queries = queries.to(documents.device)
        candidates, positive_scores = retrieve(groups, queries, documents, similarity, rules, faiss_batch_size)
    del queries, documents
    if cross_encoder is not None:
        candidates, positive_scores = rescore(
            groups, candidates, cross_encoder, batch_size=batch_size, show_progress_bar=verbose
        )
    negatives, dropped = choose(groups, candidates, positive_scores, rules)
    mined = Mined(groups, positive_scores, negatives, num_negatives)
    table = to_table(mined, output_format, layout)
    say(render(report_of(mined, output_format, len(table), len(candidates), dropped)))
    return dataset_class(table)


def retrieve(
    groups: QueryGroups, queries: Tensor, documents: Tensor, similarity: Similarity, rules: Rules, block: int = 8192
) -> tuple[Candidates, np.ndarray]:
    """The candidates of all queries, best first, and the score of each positive pair, float32 `[p]`.

    Args:
        queries: `[q, d]`, finite.
        documents: `[n, d]`, finite, on the same device.
        block: queries that are searched at a time, at most; it never changes the result.
    """
    keys, counts = left_out(groups, rules.include_positives)
    found = closest(queries, documents, similarity, rules.range_max + counts, block)
    return without(found, groups, keys), pair_scores(queries, documents, similarity, groups.query, groups.positive)


def rescore(
    groups: QueryGroups, candidates: Candidates, cross_encoder: Any, **options: Any
) -> tuple[Candidates, np.ndarray]:
    """What `retrieve` gives, with a cross-encoder's scores, best first by these; for `options` see `cross_scores`."""
    query = np.concatenate([groups.query, candidates.query])
    document = np.concatenate([groups.positive, candidates.document])
    scores = cross_scores(cross_encoder, groups, query, document, **options)
    positive_scores, own = np.split(scores, [len(groups.query)])
    return Candidates(candidates.query, candidates.document, own).best_first(), positive_scores


def choose(
    groups: QueryGroups, candidates: Candidates, positive_scores: np.ndarray, rules: Rules
) -> tuple[Candidates, list[Dropped]]:
    """The negatives of each query, best first, and what the filters dropped.

    Args:
        candidates: best first.
        positive_scores: float32 `[p]`.
    """
    bases = least_scores(groups.query, positive_scores, len(groups.queries))

    def codes(pool: Candidates) -> tuple[np.ndarray, np.ndarray]:
        return text_codes(groups.queries, pool.query), text_codes(groups.documents, pool.document)

    return select(candidates, bases, rules, codes)


def _format(name: str, scores: bool, as_triplets: bool | None, include_positives: bool) -> tuple[str, bool]:
    """The format that is meant, and whether it has scores."""
    if as_triplets is not None:
        name = "triplet" if as_triplets else "n-tuple"
        warnings.warn(f"as_triplets is older than output_format, which is now {name!r}", FutureWarning, stacklevel=3)
    if name == "n-tuple-scores":
        name, scores = "n-tuple", True
        warnings.warn("n-tuple-scores is the older name of n-tuple with output_scores", FutureWarning, stacklevel=3)
    check_name("output_format", name, FORMATS)
    if include_positives and name != "n-tuple":
        name = "n-tuple"
        warnings.warn("output_format is now 'n-tuple', because of include_positives", stacklevel=3)
    return name, scores


def _describe(groups: QueryGroups, rows: int, empty: int, say: Any) -> None:
    queries, pairs = len(groups.queries), len(groups.query)
    if queries != rows:
        say(f"Found {queries:,} unique queries out of {rows:,} total queries.")
    if pairs != queries:
        say(f"Found an average of {pairs / queries:.3f} positives per query.")
    if groups.added:
        say(f"Added {groups.added:,} positives that the corpus did not hold.")
    if empty:
        say(f"Left out {empty:,} empty texts of the corpus.")


def _encoded(
    model: Any,
    kind: str,
    texts: Any,
    prompt_name: str | None,
    prompt: str | None,
    batch_size: int,
    show_progress_bar: bool,
) -> Tensor:
    """Normalized embeddings `[n, d]` of the queries or the documents."""
    encode = getattr(model, f"encode_{kind}", model.encode)
    rows = to_tensor(
        encode(
            texts.to_pylist(),
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            normalize_embeddings=True,
            convert_to_tensor=True,
        )
    )
    if rows.dim() != 2 or len(rows) != len(texts):
        raise ValueError(f"the model gives embeddings of shape {tuple(rows.shape)} for {len(texts):,} texts")
    bad = (~rows.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(
            f"the embedding of the {kind} {texts[int(bad[0])].as_py()!r:.80} is not finite; there are {len(bad):,} such"
        )
    return rows


def _similarity(model: Any) -> Similarity:
    name = getattr(model, "similarity_fn_name", None) or "cosine"
    return similarity_of(getattr(name, "value", name))


def _dataset_class() -> Any:
    try:
        from datasets import Dataset
    except ImportError as error:
        raise ImportError("mine_hard_negatives needs datasets; install it with `pip install datasets`") from error
    return Dataset


def _silent(line: str) -> None:
    pass
