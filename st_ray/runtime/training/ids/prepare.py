"""From files of ids and files of texts to shards of examples with their texts, none of which need fit into memory.

    FOLDER/examples    the examples by their ids, a part for each shard of rows
    FOLDER/texts       plan.json: the shards, and which tasks copy texts; data/: a part of texts for each

A worker that wants a shard reads its part of the examples, and its row group of a few parts of texts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.corpus import Corpus, flags_of_a_corpus, prepare_corpus
from st_ray.runtime.meter import Meter
from st_ray.runtime.resources import cluster_nodes
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.texts_by_id.places import Sides
from st_ray.runtime.texts_by_id.staged import PLAN, begin_anew, read_places, stage_texts
from st_ray.runtime.texts_by_id.texts import text_side
from st_ray.runtime.training.ids.members import KIND, SUFFIX, MakeMembers, system_counts
from st_ray.runtime.training.ids.request import IdRequest
from st_ray.runtime.training.ids.rows import IdRows, IdShard
from st_ray.runtime.training.ids.wanted import IdCut, IdExamples, find_id_places
from st_ray.store import fs
from st_ray.store.lineage import lineage_differences
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest, read_manifest
from st_ray.store.output import STAGING, OutputFolder

TEXTS = "texts of examples"
NO_QUERY = "no text for the query"
NO_DOCUMENT = "no text for a document"


def prepare_id_rows(request: IdRequest, folder: str, lock: OutputLock) -> IdRows:
    """Find and stage the texts of all examples, unless that is done; needs a Ray session.

    Args:
        folder: of their own, within the job's output.
        lock: held on the latter.

    Raises:
        InputError: files that cannot be read, bad rows, labels that the loss cannot use, ids of texts that occur twice,
            ids that have no text; or there is no example at all.
        ShardError: some shards could not be made; the others are kept.
    """
    examples = OutputFolder(fs.join(folder, "examples"), KIND)
    texts = OutputFolder(fs.join(folder, "texts"), TEXTS, beside=(PLAN,))
    if not _is_done(request, examples, texts):
        data, queries = prepare_corpus(request.data), prepare_corpus(request.queries)
        with flags_of_a_corpus():
            corpus = prepare_corpus(request.corpus)
        named = _name(request, data, examples, lock)
        by_id = IdExamples(examples.folder, named.entries, request.recipe.inputs)
        sides: Sides = {
            "query": (text_side("query", queries, request.queries.on_bad_row), queries),
            "document": (text_side("document", corpus, request.corpus.on_bad_row), corpus),
        }
        find = functools.partial(find_id_places, by_id, sides, plans=None if request.skips else data.shards)
        lineage = request.lineage({"data": data.digest, "queries": queries.digest, "corpus": corpus.digest})
        stage_texts(texts, lineage, sides, find, request.stamps, lock)
        fs.remove(fs.join(folder, STAGING), recursive=True)
    return _prepared(examples.folder, texts.folder)


def _name(request: IdRequest, data: Corpus, output: OutputFolder, lock: OutputLock) -> Manifest:
    """The examples by their ids. Raises InputError where there are none."""
    lineage, recipe = request.data_lineage(data.digest), request.recipe
    writer, meter = begin_anew(output, lineage), Meter()
    stage = Stage(
        label="examples",
        tasks=data.shards,
        rows=[shard.rows for shard in data.shards],
        finish=MakeMembers(data.spec, request.data.on_bad_row, recipe, meter.client()),
        writers=max(1, int(sum(node.cpus for node in cluster_nodes()))),
        writer_cpus=1.0,
        suffix=SUFFIX,
        describe=lambda shard: f"rows {shard.first_row + 1:,} to {shard.first_row + shard.rows:,}",
    )
    result = run_stage(stage, output, writer, lock, meter)
    manifest = Manifest(KIND, lineage, result.entries)
    absent = [name for name, count in system_counts(result.entries).items() if not count]
    if absent:
        raise InputError(
            f"{data.files[0].url}: no row has negatives of {', '.join(absent)}", "check --negative-systems"
        )
    if not manifest.rows:
        raise InputError(f"{data.files[0].url}: no row makes an example{_said(manifest.dropped)}", "name other --data")
    output.finish(manifest)
    return manifest


def _is_done(request: IdRequest, examples: OutputFolder, texts: OutputFolder) -> bool:
    """Whether an earlier run prepared all, and the files are those of then; nothing is scanned for that."""
    named, staged = examples.manifest(), texts.manifest()
    if named is None or staged is None or staged.about["stamps"] != request.stamps:
        return False
    of_data, of_all = request.data_lineage(staged.lineage["data"]), request.lineage(staged.lineage)
    return not lineage_differences(named.lineage, of_data) and not lineage_differences(staged.lineage, of_all)


def _prepared(examples: str, texts: str) -> IdRows:
    """What lies in the two folders. Raises InputError where no example has its texts."""
    named, staged = read_manifest(examples), read_manifest(texts)
    places = read_places(texts, IdCut)
    cuts = [cut for cut in places.cuts if cut.examples]
    dropped = {
        **named.dropped,
        NO_QUERY: sum(cut.without_query for cut in places.cuts),
        NO_DOCUMENT: sum(cut.without_document for cut in places.cuts),
    }
    dropped = {reason: count for reason, count in dropped.items() if count}
    if not cuts:
        raise InputError(f"no example has its texts{_said(dropped)}", "check --queries and --corpus, and their ids")
    files = places.files(texts, staged.entries)
    firsts = np.cumsum([0, *(cut.examples for cut in cuts[:-1])]).tolist()
    tasks = [
        IdShard(
            first_example=first,
            cut=cut,
            folder=examples,
            entry=named.entries[cut.slot],
            query_files=files["query", places.range_of(cut.slot)],
            document_files=files["document", places.range_of(cut.slot)],
        )
        for first, cut in zip(firsts, cuts, strict=True)
    ]
    return IdRows(tuple(tasks), dropped, staged.lineage)


def _said(dropped: Mapping[str, int]) -> str:
    return "".join(f"; {reason}: {count:,}" for reason, count in dropped.items())
