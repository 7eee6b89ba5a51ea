"""Mine what the chain has made ready: choose, fetch the texts of what was chosen, write tables, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from st_ray.core.errors import StRayError
from st_ray.core.page import Section
from st_ray.mining.filters import Dropped
from st_ray.mining.formats import Layout
from st_ray.mining.negative_statistics import Report
from st_ray.runtime.clock import Laps
from st_ray.runtime.cross_encoding.steps import ScorerLoader
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.meter import Meter
from st_ray.runtime.mining.negatives.chain import Chain, Mineable
from st_ray.runtime.mining.negatives.choose import DROPPED, ChooseNegatives, TextCodes
from st_ray.runtime.mining.negatives.config import MineHardNegativesConfig
from st_ray.runtime.mining.negatives.distribution import distributions
from st_ray.runtime.mining.negatives.inputs import TextRequest
from st_ray.runtime.mining.negatives.inputs import text_request as pair_request
from st_ray.runtime.mining.negatives.report import negatives_page, report_to_json
from st_ray.runtime.mining.negatives.rescoring import Rescoring
from st_ray.runtime.mining.negatives.steps import one_step
from st_ray.runtime.mining.negatives.work import TEXTS, Work
from st_ray.runtime.mining.negatives.write import WriteTable
from st_ray.runtime.report.page import PAGE, run_sections
from st_ray.runtime.rerank.candidates import CandidateRequest, CandidateShard, prepare_candidates
from st_ray.runtime.result import JobResult
from st_ray.runtime.stage import run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.runtime.texts_by_id.staged import text_request
from st_ray.store import fs
from st_ray.store.hit_sets import open_hit_set
from st_ray.store.hits import KIND as HITS
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.output import RUN, STAGING, OutputFolder, Writer
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.readers.tables import open_parquet, parquet_batches

KIND = "hard negatives"
INPUTS = "inputs.json"
"""File of the output that says what its parts were made from."""
_CHOSEN = "chosen"
_EXAMPLES = 8


def mine_hard_negatives(
    config: MineHardNegativesConfig,
    loader: EncoderLoader | None = None,
    scorer: ScorerLoader | None = None,
    session: ExitStack | None = None,
) -> JobResult:
    """Run the job to its end; the rows are those of `st_ray.mine_hard_negatives`, by the same scores.

    Args:
        config: see `MineHardNegativesConfig`.
        loader: an encoder of the caller's own in place of a model folder's.
        scorer: a cross-encoder of the caller's own; it scores whatever --cross-encoder says.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad files, models, output or resources, before any model is loaded where that is possible;
            ShardError if some shards of a step failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(INPUTS, PAGE))
    output.check_usable()
    with ExitStack() as stack:
        work = Work(config, session or stack, laps)
        chain = Chain(config, loader, Rescoring(config, scorer, work), work)
        chain.check_models()
        request = pair_request(config, work.place(TEXTS))
        layout = config.layout(request.anchor, request.positive)
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        fresh = output.begun_lineage() is None
        lineage = _lineage(config)
        writer = output.begin(lineage)
        finished = output.manifest()
        if finished is not None and not fs.exists(work.place(TEXTS)) and _is_of(finished, config, request):
            return JobResult(finished, output.folder, already_complete=True)  # somebody has tidied up
        try:
            texts = chain.texts(request)
        except StRayError:
            if fresh and not fs.is_file(work.place(TEXTS, RUN)):
                output.clear()  # so that mended flags do not meet the old ones
                fs.remove(work.place(TEXTS) if config.work else config.work_folder, recursive=True)
            raise
        mineable = chain.mineable(texts)
        output.settle_inputs(INPUTS, mineable.digests)
        if finished is not None:
            return JobResult(finished, output.folder, already_complete=True)
        work.start_ray()
        laps.end("Ray")
        run = _Run(config, mineable, layout, output, lock)
        chosen = run.choose()
        laps.end("choose")
        shards = run.texts(chosen.entries)
        laps.end("texts of the result")
        written = run.write(shards, writer)
        laps.end("write")
        of_run = run_sections(config, {**lineage, **mineable.digests}, laps.seconds, [chosen, written])
        page, about = run.report(chosen.entries, written, of_run)
        lock.require_held(output.folder)
        fs.write_atomic(fs.join(output.folder, PAGE), page)
        laps.end("report")
        figures = {
            "steps_done": work.done_here,
            "shards_done_before": written.done_before,
            "seconds_of": {name: seconds for name, seconds in laps.seconds.items() if seconds >= 0.1},
            "seconds": round(sum(laps.seconds.values()), 3),
        }
        manifest = Manifest(KIND, lineage, written.entries, about, figures)
        output.finish(manifest)
    return JobResult(manifest, output.folder)


@dataclass(frozen=True)
class _Run:
    """What is settled before the first candidate is looked at."""

    config: MineHardNegativesConfig
    mineable: Mineable
    layout: Layout
    output: OutputFolder
    lock: OutputLock

    def choose(self) -> StageResult:
        """The chosen pairs: a folder of hits that is staged."""
        mineable, output = self.mineable, OutputFolder(self._chosen, HITS)
        lineage = {"inputs": mineable.digests, **_lineage(self.config)}
        codes = TextCodes(mineable.texts.corpus, mineable.documents, mineable.queries)
        entries = mineable.candidate_parts.entries
        rules, meter = self.config.rules(mineable.range_max), Meter()
        stage = one_step(
            "choose",
            entries,
            [entry.rows for entry in entries],
            ChooseNegatives(mineable.candidates, mineable.scored, rules, codes),
            meter,
            noun="candidates",
            describe=lambda entry: f"candidates of queries from {entry.first_row:,} on",
            actors=self.config.actors,
        )
        result = run_stage(stage, output, output.begin(lineage), self.lock, meter)
        output.finish(Manifest(HITS, lineage, result.entries))
        return result

    def texts(self, chosen: Sequence[ShardEntry]) -> tuple[CandidateShard, ...]:
        """The chosen pairs in shards with their texts, which are staged as those of candidates to be reranked are."""
        spec = ReadSpec(id_column="id", text_columns=("text",))
        anchors, corpus = (
            text_request([side.data], spec, "fail", self.output.folder)
            for side in (self.mineable.texts.anchors, self.mineable.texts.corpus)
        )
        hits, config = open_hit_set(self._chosen), self.config
        request = CandidateRequest(anchors, corpus, hits, shard_pairs=config.shard_rows, actors=config.actors)
        return prepare_candidates(request, self.output.folder, self.lock).shards

    def write(self, shards: Sequence[CandidateShard], writer: Writer) -> StageResult:
        """The parts of the result."""
        config, meter = self.config, Meter()
        stage = one_step(
            "write",
            shards,
            [shard.pairs for shard in shards],
            WriteTable(config.output_format, self.layout, config.num_negatives),
            meter,
            noun="pairs",
            describe=lambda shard: f"pairs {shard.first_pair:,} to {shard.first_pair + shard.pairs - 1:,}",
            actors=config.actors,
        )
        return run_stage(stage, self.output, writer, self.lock, meter)

    def report(
        self, chosen: Sequence[ShardEntry], written: StageResult, of_run: Iterable[Section]
    ) -> tuple[bytes, dict[str, Any]]:
        """The page, with the sections `of_run` at its end, and what a reader of the result wants to know."""
        config, mineable = self.config, self.mineable
        scores = distributions(self._chosen, chosen, config.output_format, config.num_negatives)
        figures = [entry.figures for entry in chosen]
        totals = {name: int(sum(part[name] for part in figures)) for name in figures[0]}
        dropped = tuple(
            Dropped(name, getattr(config.filters, name), totals.pop(DROPPED + name))
            for name in (name.removeprefix(DROPPED) for name in list(totals) if name.startswith(DROPPED))
        )
        wanted = int(sum(entry.figures["wanted"] for entry in written.entries))
        rows = sum(entry.rows for entry in written.entries)
        positives, negatives, differences = scores.statistics
        report = Report(positives, negatives, differences, totals["candidates"], dropped, wanted, wanted - rows)
        about = {
            "model": config.model,
            "cross_encoder": mineable.scorer.get("cross_encoder"),
            "scores": mineable.scorer.get("scores", f"{mineable.similarity} of embeddings"),
            "work": config.work_folder,
            "range_max": mineable.range_max,
            "columns": {"anchor": self.layout.anchor, "positive": self.layout.positive},
            "texts": dict(mineable.texts.about),
            **totals,
            "report": report_to_json(report),
        }
        return negatives_page(about, _lineage(config), report, scores, self._examples(written), of_run), about

    def _examples(self, written: StageResult) -> pa.Table:
        """Some rows of the result."""
        entry = next((entry for entry in written.entries if entry.rows), written.entries[0])
        with open_parquet(fs.join(self.output.folder, "data", entry.name)) as file:
            names = file.schema_arrow.names
            batches = list(parquet_batches(file, names, 0, _EXAMPLES, batch_rows=_EXAMPLES))
            return pa.Table.from_batches(batches, file.schema_arrow)

    @property
    def _chosen(self) -> str:
        return fs.join(self.output.folder, STAGING, _CHOSEN)


def _lineage(config: MineHardNegativesConfig) -> Lineage:
    """What of the flags shows in the result, beside what it is made from."""
    return {
        **asdict(config.filters),
        "range_max": config.range_max,
        "num_negatives": config.num_negatives,
        "sampling_strategy": config.sampling_strategy,
        "seed": config.seed if config.sampling_strategy == "random" else None,
        "include_positives": config.include_positives,
        "output_format": config.output_format,
        "output_scores": config.output_scores,
        "shard_rows": config.shard_rows,
    }


def _is_of(finished: Manifest, config: MineHardNegativesConfig, request: TextRequest) -> bool:
    """Whether a result is that of the same files and models, as far as their names and stamps tell."""
    about = finished.about
    named = config.model, config.cross_encoder
    return about["texts"]["stamps"] == request.stamps and (about["model"], about["cross_encoder"]) == named
