"""Check everything, encode texts, find the pairs, write them, measure what an index overlooked, report."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from st_ray.core.errors import InputError, StRayError
from st_ray.runtime.clock import Laps
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.encode.within import encode_within
from st_ray.runtime.joining import job_session
from st_ray.runtime.mining.check import check_rows
from st_ray.runtime.mining.paraphrases.blocks import cut_blocks
from st_ray.runtime.mining.paraphrases.config import MineParaphrasesConfig
from st_ray.runtime.mining.paraphrases.page import report
from st_ray.runtime.mining.paraphrases.recall import true_pairs
from st_ray.runtime.mining.paraphrases.source import open_rows
from st_ray.runtime.mining.paraphrases.staged import Slices
from st_ray.runtime.mining.paraphrases.stages import Mining
from st_ray.runtime.mining.paraphrases.write import PART_PAIRS, Survey, count_found, survey
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.report.page import PAGE, run_sections
from st_ray.runtime.result import JobResult
from st_ray.runtime.search.target import Target
from st_ray.runtime.session import data_context
from st_ray.runtime.shuffle import spread
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest
from st_ray.store.output import RUN, OutputFolder
from st_ray.store.pairs import KIND

EMBEDDINGS = "embeddings"
"""Folder within the output that texts are encoded into: an output of its own."""


def mine_paraphrases(
    config: MineParaphrasesConfig, loader: EncoderLoader | None = None, session: ExitStack | None = None
) -> JobResult:
    """Run the job to its end.

    Without an index, pairs, scores and order are those of `st_ray.paraphrase_mining_embeddings` on the same embeddings
    with the same `top_k` and `max_pairs`.

    Args:
        config: see `MineParaphrasesConfig`.
        loader: an encoder of the caller's own for texts, in place of a model folder's.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad embeddings, texts, index, output or resources, before any pair is made where that is possible;
            ShardError if some shards failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(EMBEDDINGS, PAGE))
    output.check_usable()
    named = None if config.input else open_rows(config, config.embeddings)
    with ExitStack() as stack:
        session = session or stack
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        fresh = output.begun_lineage() is None
        lineage = _lineage(config, named)
        writer = output.begin(lineage)
        laps.end("input")
        texts = fs.join(output.folder, EMBEDDINGS)
        try:
            target = named or _encoded(config, texts, loader, session)
        except StRayError:
            if fresh and not fs.is_file(fs.join(texts, RUN)):
                output.clear()  # so that mended flags do not meet the old ones
            raise
        laps.end("texts")
        finished = output.manifest()
        if finished is not None:
            return JobResult(finished, output.folder, already_complete=True)
        session.enter_context(job_session(config))
        data_context(config.debug)
        laps.end("Ray")
        store = target.store
        _check(config, target, output)
        laps.end("check")
        blocks = cut_blocks(store.rows, store.dimension, config.top_k, config.max_pairs)
        mining = Mining(config, target, blocks, output, lock, laps, {})
        pairs = mining.compared() if target.index is None else mining.asked()
        result = mining.write(pairs, writer)
        seen = result_of(spread(survey, [(pairs, store.rows)], 1)[0][0])
        recall = None if target.index is None else _recall(config, target, pairs)
        laps.end("figures")
        manifest = Manifest(
            kind=KIND,
            lineage=lineage,
            entries=result.entries,
            about={**_about(config, target, pairs, seen), "recall": recall},
            run={
                "seconds_of": laps.seconds,
                "seconds": round(sum(laps.seconds.values()), 3),
                "shards_done_before": {name: one.done_before for name, one in mining.results.items()},
            },
        )
        lock.require_held(output.folder)
        of_run = run_sections(config, lineage, laps.seconds, list(mining.results.values()))
        fs.write_atomic(fs.join(output.folder, PAGE), report(output.folder, manifest, seen, of_run))
        output.finish(manifest)
    return JobResult(manifest, output.folder)


def _encoded(config: MineParaphrasesConfig, folder: str, loader: EncoderLoader | None, session: ExitStack) -> Target:
    flags = {"input": config.input, "model": str(config.model), "keep_text": config.keep_text}
    return open_rows(config, encode_within(config, folder, loader, session, **flags).folder)


def _lineage(config: MineParaphrasesConfig, named: Target | None) -> Lineage:
    measured = {"recall_rows": config.recall_rows, "seed": config.seed} if config.index is not None else {}
    return {
        "mined": "paraphrases",
        # Embeddings of texts are an output of their own, with a lineage of its own.
        **(named.lineage if named else {"embeddings": EMBEDDINGS}),
        "similarity": named.similarity.name if named else config.similarity,
        "top_k": config.top_k,
        "max_pairs": config.max_pairs,
        "min_score": config.min_score,
        "keep_text": config.keep_text,
        "part_pairs": PART_PAIRS,
        **measured,
    }


def _check(config: MineParaphrasesConfig, target: Target, output: OutputFolder) -> None:
    """Raise InputError where a row cannot be compared; of a given store, no output is left behind."""
    try:
        check_rows(target.store, cosine=target.similarity.normalized)
    except InputError:
        if not config.input:
            output.clear()  # so that the next try, with a mended store, is not refused for its lineage
        raise


def _recall(config: MineParaphrasesConfig, target: Target, pairs: Slices) -> dict[str, Any] | None:
    """How many of the pairs that a sample of rows should have are there; None for a store without any pair."""
    if target.store.rows < 2:
        return None
    expected, rows = true_pairs(config, target)
    complete = pairs.count < config.max_pairs
    found, possible = result_of(spread(count_found, [(pairs, expected, complete)], 1)[0][0])
    return {"rows": rows, "pairs": possible, "found": found, "recall": found / possible if possible else None}


def _about(config: MineParaphrasesConfig, target: Target, pairs: Slices, seen: Survey) -> dict[str, Any]:
    """What a reader of the pairs wants to know."""
    store, index = target.store, target.index
    return {
        "pairs": pairs.count,
        "rows": store.rows,
        "rows_in_no_pair": store.rows - seen.paired,
        "top_k": config.top_k,
        "max_pairs": config.max_pairs,
        "min_score": config.min_score,
        "similarity": target.similarity.name,
        "best_score": seen.best if pairs.count else None,
        "last_score": seen.last if pairs.count else None,
        "embeddings": store.folder,
        "index": config.index,
        "factory": index.spec.factory if index else None,
        "parameter": index.parameter if index else None,
    }
