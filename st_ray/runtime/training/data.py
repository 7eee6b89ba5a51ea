"""The examples that a job trains and measures on: from its flags to prepared folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from st_ray.runtime.training.base import BaseModel, CrossEncoderBase
from st_ray.runtime.training.config import TrainConfig, TrainCrossEncoderConfig
from st_ray.runtime.training.ids.prepare import prepare_id_rows
from st_ray.runtime.training.ids.recipe import IdFormat, id_recipe
from st_ray.runtime.training.ids.request import IdRequest, TextFiles, id_request
from st_ray.runtime.training.ids.rows import IdShard, read_id_rows
from st_ray.runtime.training.layout import ExampleFlags
from st_ray.runtime.training.prepare import (
    DROPPED_BEFORE,
    KIND,
    ExampleRequest,
    PreparedExamples,
    example_request,
    make_examples,
    prepare_examples,
)
from st_ray.runtime.training.rows import ExampleMaker, RowSource, ShardRows
from st_ray.store import fs
from st_ray.store.lock import OutputLock
from st_ray.store.output import OutputFolder
from st_ray.store.readers.sources import holds_delimited

TRAIN, EVAL = "examples", "eval-examples"
_IDS = "ids"


@dataclass(frozen=True)
class TrainData:
    """What the flags ask for, checked as far as no row must be read for it.

    Attributes:
        folder: where it is prepared.
    """

    config: TrainConfig
    base: BaseModel
    maker: ExampleMaker
    request: ExampleRequest | IdRequest
    evaluation: ExampleRequest | None
    folder: str

    @property
    def stamps(self) -> dict[str, Any]:
        """Of all files: while they are equal, nothing need be read again."""
        return {TRAIN: self.request.stamps, EVAL: self.evaluation.stamps if self.evaluation else None}

    def prepare(self, lock: OutputLock) -> tuple[PreparedExamples, PreparedExamples | None]:
        """The examples to train on, and those to measure on; needs a Ray session.

        Args:
            lock: held on the output.

        Raises:
            InputError: bad rows, ids without a text, or no example at all.
            ShardError: some parts could not be made; the others are kept.
        """
        where = fs.join(self.folder, TRAIN)
        if isinstance(self.request, IdRequest):
            trained = self._from_ids(self.request, where, lock)
        else:
            trained = prepare_examples(self.request, where, lock)
        if self.evaluation is None:
            return trained, None
        request = self.evaluation
        if isinstance(self.base, CrossEncoderBase) and self.config.loss == "ce":
            labels = self.base.with_classes(trained.classes).inspect().labels
            request = request.for_evaluation(self.config.eval_data, labels)
        return trained, prepare_examples(request, fs.join(self.folder, EVAL), lock)

    def _from_ids(self, request: IdRequest, folder: str, lock: OutputLock) -> PreparedExamples:
        rows = prepare_id_rows(request, fs.join(self.folder, _IDS), lock)
        source = RowSource(rows.tasks, [task.examples for task in rows.tasks], read_shard_of_ids, describe_ids)
        output = OutputFolder(folder, KIND)
        lineage = {**rows.lineage, "kind": self.maker.kind, **self.maker.settings}
        finished = output.manifest()
        if finished is not None:
            output.check_lineage(lineage)
            return PreparedExamples.of(folder, finished)
        about = {"data": list(self.config.data), "format": request.recipe.format, DROPPED_BEFORE: dict(rows.dropped)}
        return make_examples(source, self.maker, output, lineage, lock, about)


def train_data(config: TrainConfig, base: BaseModel, folder: str) -> TrainData:
    """Check the flags against the files; only their beginnings are read.

    Raises:
        ConfigError: flags that do not go together.
        InputError: no such file or column.
    """
    pairs = isinstance(config, TrainCrossEncoderConfig)
    prompt = "" if pairs else base.inspect().folder.prompt(None, None)
    maker = ExampleMaker.of(
        "cross-encoder" if pairs else "bi-encoder",
        config.base_model,
        prompt,
        config.max_seq_length,
        config.trust_remote_code,
    )
    flags = _flags_for(_flags(config), config.data, config.eval_data)
    request: ExampleRequest | IdRequest
    if isinstance(config, TrainCrossEncoderConfig) and config.id_format is not None:
        request = _by_ids(config, config.id_format, fs.join(folder, _IDS))
        flags = replace(flags, format=None)
    else:
        request = example_request(flags, maker)
    evaluation = None
    if config.eval_data:
        of_eval = replace(_flags(config), format=flags.format, negatives_per_positive=None)
        evaluation = example_request(_flags_for(of_eval, config.eval_data, config.data), maker)
    return TrainData(config, base, maker, request, evaluation, folder)


def _flags_for(flags: ExampleFlags, data: tuple[str, ...], others: tuple[str, ...]) -> ExampleFlags:
    """The flags for `data`: --columns is for CSV and TSV files, and where only `others` are such it is for them."""
    not_here = flags.columns and others and holds_delimited(others) and not holds_delimited(data)
    return replace(flags, data=data, columns=() if not_here else flags.columns)


def _flags(config: TrainConfig) -> ExampleFlags:
    cross = config if isinstance(config, TrainCrossEncoderConfig) else None
    return ExampleFlags(
        data=config.data,
        loss=config.loss,
        format=cross.format if cross is not None else "pairs",
        text_columns=config.text_columns,
        label_columns=config.label_column,
        columns=config.columns,
        quotes=config.quotes,
        label_scale=config.label_scale,
        negatives_per_positive=cross.negatives_per_positive if cross is not None else None,
        classes=cross.num_labels if cross is not None and config.loss == "ce" else None,
        shard_rows=config.shard_rows,
        on_bad_row=config.on_bad_row,
    )


def _by_ids(config: TrainCrossEncoderConfig, format: IdFormat, folder: str) -> IdRequest:
    recipe = id_recipe(
        format,
        config.loss,
        label_scale=config.label_scale,
        negatives_per_positive=config.negatives_per_positive,
        negative_systems=config.negative_systems,
        seed=config.seed,
    )
    queries, collection = TextFiles(config.queries), TextFiles(config.collection)
    return id_request(recipe, config.data, queries, collection, folder, on_bad_row=config.on_bad_row)


def read_shard_of_ids(task: IdShard) -> ShardRows:
    """The examples of a shard, which the join has found the texts of; runs in a task."""
    return ShardRows(read_id_rows(task), task.first_example)


def describe_ids(task: IdShard) -> str:
    """Name it, for an error."""
    return f"examples {task.first_example + 1:,} to {task.first_example + task.examples:,}"
