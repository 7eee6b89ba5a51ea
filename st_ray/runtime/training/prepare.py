"""Examples to train or to evaluate on: from files to committed, resumable parts of tokenized examples.

FOLDER/data/part-00042.arrow   see `st_ray.training.example_part`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.corpus import ScanRequest, prepare_corpus, reading_lineage, stamps_digest
from st_ray.runtime.meter import Meter, MeterClient
from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.resources import cluster_nodes
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.training.formats import ReadRows, read_spec
from st_ray.runtime.training.layout import ExampleFlags, Layout, find_layout
from st_ray.runtime.training.rows import PART, ExampleMaker, RowSource, ShardRows, tokenizer_of
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest, content_digest
from st_ray.store.output import STAGING, OutputFolder, Part
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.sources import input_columns, resolve_inputs
from st_ray.store.readers.spec import ReadSpec, SourceFile
from st_ray.training.examples import Examples
from st_ray.training.loss_rules import LOSSES_OF

KIND = "training examples"
DROPPED_BEFORE = "dropped_before"
"""In the manifest: what was left out before there were rows, by reason."""
_SHARDS = 1_000
"""No more of them, so long as none is larger than some seconds of a CPU."""
_ROWS_OF_A_SHARD = {"pairs": (2_000, 50_000), "tuples": (1_000, 20_000), "lists": (100, 2_000)}
"""The least and the most, by the format of the data."""


@dataclass(frozen=True)
class ExampleRequest:
    """Labelled examples in files, and what is to become of them.

    Attributes:
        files: in order.
        spec: the columns to read.
    """

    flags: ExampleFlags
    maker: ExampleMaker
    layout: Layout
    files: tuple[SourceFile, ...]
    spec: ReadSpec

    @property
    def stamps(self) -> str:
        """Of the files: while they are equal, these need not be scanned again."""
        return stamps_digest(self.files)

    @property
    def inputs(self) -> int:
        """Of an example: what goes through the network together."""
        if self.maker.kind == "bi-encoder":
            return 2
        return len(self.layout.documents) if self.flags.loss == "margin-mse" else 1

    @property
    def labels(self) -> int:
        """Of an example."""
        return self.inputs if self.flags.loss == "margin-mse" else 1

    def for_evaluation(self, data: tuple[str, ...], classes: int | None = None) -> ExampleRequest:
        """The same of other files, whose columns may be others where no flag names them; no negative is left alone.

        Args:
            classes: of `ce`, those that the model has.

        Raises:
            InputError: no such file or column.
        """
        flags = replace(self.flags, data=data, negatives_per_positive=None, classes=classes or self.flags.classes)
        return example_request(flags, self.maker)

    def scan(self, folder: str) -> ScanRequest:
        """The scan of the files; compressed ones are re-cut in `folder`."""
        least, most = _ROWS_OF_A_SHARD[self.layout.format]
        return ScanRequest(
            files=self.files,
            spec=self.spec,
            shard_rows=self.flags.shard_rows or least,
            staging=fs.join(folder, STAGING),
            on_bad_row=self.flags.on_bad_row,
            check_ids=False,
            fitting=None if self.flags.shard_rows else lambda rows: min(max(-(-rows // _SHARDS), least), most),
        )

    def lineage(self, digest: str) -> Lineage:
        """What identifies the examples; `digest` is that of the files' content."""
        flags = self.flags
        return {
            "input": digest,
            **reading_lineage(self.spec, flags.on_bad_row),
            "format": self.layout.format,
            "loss": flags.loss,
            "label_scale": flags.label_scale,
            "negatives_per_positive": flags.negatives_per_positive,
            "classes": flags.classes,
            "shard_rows": flags.shard_rows,
            "kind": self.maker.kind,
            **self.maker.settings,
        }


def example_request(flags: ExampleFlags, maker: ExampleMaker) -> ExampleRequest:
    """What the flags ask for, put to the files; no row is read for that.

    Raises:
        ConfigError: flags that do not go together.
        InputError: no such file; or columns are missing, or of other kinds; what is found and expected is named.
    """
    if flags.loss not in LOSSES_OF[maker.kind]:
        raise ConfigError(
            f"--loss {flags.loss} does not train a {maker.kind}", f"use one of {', '.join(LOSSES_OF[maker.kind])}"
        )
    if not flags.data:
        raise ConfigError("--data names no file", "give at least one file, folder or glob")
    columns = input_columns(flags.data, ReadSpec(columns=flags.columns or None, quotes=flags.quotes))
    if not columns:
        raise InputError(f"{', '.join(flags.data[:3])}: no input holds any row", "check the inputs")
    layout = find_layout(columns, flags)
    files, spec = resolve_inputs(flags.data, read_spec(layout, flags))
    return ExampleRequest(flags, maker, layout, tuple(files), spec)


@dataclass(frozen=True)
class PreparedExamples:
    """A finished folder of examples.

    Attributes:
        urls: of the parts, in order.
        examples: how many.
        rows: of the input, those that were left out included.
        tokens: of all inputs of all examples.
        labels: the least and the greatest.
        graded: labels other than 0 and 1.
        mixed: first texts of pairs that have examples of label 1 and others in one part.
        dropped: rows that were left out, by reason.
        digest: of the parts' content.
    """

    folder: str
    urls: tuple[str, ...]
    examples: int
    rows: int
    tokens: int
    labels: tuple[float, float]
    graded: int
    mixed: int
    dropped: Mapping[str, int]
    digest: str

    @classmethod
    def of(cls, folder: str, manifest: Manifest) -> PreparedExamples:
        """The examples in `folder`, whose manifest is known. Raises InputError where there are none."""
        if not manifest.rows:
            dropped = "; ".join(f"{count:,} rows: {reason}" for reason, count in list(manifest.dropped.items())[:5])
            raise InputError(
                f"none of {manifest.about['rows']:,} rows makes an example ({dropped})", "mend the data, or name others"
            )
        figures = [entry.figures for entry in manifest.entries if entry.rows]
        return cls(
            folder=folder,
            urls=tuple(fs.join(folder, "data", entry.name) for entry in manifest.entries),
            examples=manifest.rows,
            rows=manifest.about["rows"],
            tokens=sum(int(found["tokens"]) for found in figures),
            labels=(min(found["lowest_label"] for found in figures), max(found["highest_label"] for found in figures)),
            graded=sum(int(found["graded"]) for found in figures),
            mixed=sum(int(found.get("mixed", 0)) for found in figures),
            dropped={**manifest.about.get(DROPPED_BEFORE, {}), **manifest.dropped},
            digest=content_digest("".join(entry.digest for entry in manifest.entries).encode()),
        )

    @property
    def binary(self) -> bool:
        """Whether all labels are 0 or 1."""
        return self.graded == 0

    @property
    def classes(self) -> int:
        """Of labels that are classes: how many there are, at least two."""
        return max(2, int(self.labels[1]) + 1)

    def check_ranking(self) -> None:
        """Raise InputError where no first text has examples of label 1 and others, so that there is nothing to rank.

        Parts are opened only where none has such a text by itself.
        """
        if not self.mixed and not self.open().mixed():
            raise InputError(
                "--evaluator reranking: no query of --eval-data has both a relevant document (label 1) and another (0)",
                "give queries with both, or use --evaluator binary-classification",
            )

    def open(self) -> Examples:
        """Them, on this machine. Raises InputError where a part is missing or damaged."""
        return Examples.open(self.urls, self.digest)


def prepare_examples(request: ExampleRequest, folder: str, lock: OutputLock) -> PreparedExamples:
    """The examples that are asked for, in `folder`; made unless they are there, or as far as they are not.

    Args:
        lock: held by the job that they are for.

    Raises:
        InputError: bad rows (unless they are skipped), or no row makes an example.
        ModelError: the tokenizer cannot be used.
        OutputError: other examples lie in `folder`.
        ShardError: some parts could not be made; the others are kept.
    """
    output = OutputFolder(folder, KIND)
    output.check_usable()
    finished = output.manifest()
    if finished is not None and finished.about["stamps"] == request.stamps:
        output.check_lineage(request.lineage(finished.lineage["input"]))
        return PreparedExamples.of(folder, finished)
    corpus = prepare_corpus(request.scan(folder))
    lineage = request.lineage(corpus.digest)
    output.check_lineage(lineage)
    tokenizer_of(request.maker.loader)  # built once, it is there for all tasks, and a mistake shows before they start
    source = RowSource(
        tasks=corpus.shards,
        rows=[shard.rows for shard in corpus.shards],
        read=ReadRows(corpus.spec, request.layout, request.flags),
        describe=_describe,
    )
    about = {"data": list(request.flags.data), "format": request.layout.format, "stamps": request.stamps}
    return make_examples(source, request.maker, output, lineage, lock, about)


def make_examples(
    source: RowSource,
    maker: ExampleMaker,
    output: OutputFolder,
    lineage: Lineage,
    lock: OutputLock,
    about: Mapping[str, Any],
) -> PreparedExamples:
    """Make the parts that are missing, wherever their rows come from, and finish the folder.

    Args:
        about: what a reader of the manifest wants to know beside counts.

    Raises:
        InputError: no row makes an example.
        ShardError: some parts could not be made; the others are kept.
    """
    writer = output.begin(lineage)
    meter = Meter()
    stage = Stage(
        label="examples",
        tasks=list(zip(source.tasks, source.rows, strict=True)),
        rows=source.rows,
        finish=_MakePart(source.read, maker, meter.client()),
        writers=max(1, sum(int(node.cpus) for node in cluster_nodes())),
        writer_cpus=1.0,
        suffix=PART,
        describe=lambda task: source.describe(task[0]),
    )
    result = run_stage(stage, output, writer, lock, meter)
    manifest = Manifest(KIND, lineage, result.entries, {**about, "rows": sum(source.rows)})
    try:
        prepared = PreparedExamples.of(output.folder, manifest)
    except InputError:
        output.clear()  # so that mended data do not meet the old ones
        raise
    output.finish(manifest)
    return prepared


@dataclass(frozen=True)
class _MakePart:
    """Makes a part of a shard's rows, and counts them."""

    read: Callable[[Any], ShardRows]
    maker: ExampleMaker
    meter: MeterClient | None

    def __call__(self, row: Row) -> Part:
        task, rows = task_of(row)
        part = self.maker.part(self.read(task), row["name"])
        if self.meter is not None:
            self.meter.add(rows=rows)
            self.meter.flush()
        return part


def _describe(shard: ShardPlan) -> str:
    return f"rows {shard.first_row + 1:,} to {shard.first_row + shard.rows:,}"
