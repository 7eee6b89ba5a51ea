"""The flags of the jobs that train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import NO_NAMES, JobConfig, Names, TextConfig, require_at_least
from st_ray.runtime.training.ids.recipe import IdFormat
from st_ray.runtime.training.layout import Format
from st_ray.training.loss_rules import BiEncoderLoss, CrossEncoderLoss

EvaluatorName = Literal["auto", "correlation", "binary-classification", "reranking", "softmax-accuracy", "f1", "margin"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TextConfig, JobConfig):
    """Flags of both kinds of training."""

    base_model: str
    """Model to start from: a folder as Sentence Transformers or transformers writes it, a hub id, an s3:// folder, or
    package:NAME for a model inside an installed Python package."""

    data: tuple[str, ...]
    """Files, folders or globs of training examples: Parquet, JSON lines, CSV or TSV, .gz and .zst too."""

    loss: str
    """What is made small."""

    text_columns: Names = NO_NAMES
    """The columns (a,b) that hold the texts of an example. Unset: the two columns of texts."""

    label_column: Names = NO_NAMES
    """Column of the labels. Unset: `label` or `score`."""

    label_scale: float = 1.0
    """Labels are divided by it: 5 makes 0 to 1 of the STS benchmark's 0 to 5."""

    eval_data: tuple[str, ...] = ()
    """Examples of the same columns to measure the model on while it is trained; the best model is kept. Unset: the
    model of the last step is kept."""

    eval_steps: int | None = None
    """Measure every so many steps, and at the end. Unset: at the end of each epoch."""

    evaluator: EvaluatorName = "auto"
    """What is measured; the first figure of each tells the best model. correlation: Spearman's and Pearson's.
    binary-classification, of labels 0 and 1: average precision, accuracy and F1. reranking, likewise (1 is relevant):
    ndcg@10, mrr@10 and map, over queries that have relevant and other documents; rows with the same first text are one
    query's. softmax-accuracy and f1: of classes. margin: of scores' differences to the positive's. auto: what suits the
    loss and the labels of --eval-data; for bce and labels 0 and 1, reranking where they are tuples or lists,
    binary-classification where they are pairs."""

    epochs: float = 1.0
    """How often all examples are seen; a fraction ends within an epoch."""

    batch_size: int = 32
    """Examples of a step, over all workers."""

    micro_batch_size: int | None = None
    """Examples that a worker takes through the network at once: gradients are added up over the step's. It bounds
    memory and changes nothing else. Unset: a worker's whole share."""

    lr: float = 2e-5
    """Highest learning rate, reached after the warm-up; from there it falls to zero in a straight line."""

    warmup_ratio: float = 0.1
    """Share of the steps over which the learning rate rises from zero."""

    weight_decay: float = 0.0
    """Of AdamW; biases and normalisations have none."""

    max_grad_norm: float = 1.0
    """Longer gradients are scaled down to this norm; 0: they are left as they are."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the transformer; weights and their updates are float32 in any case. auto: bfloat16 where the
    hardware has it."""

    length_grouped: bool = True
    """Put examples of like length into one batch, which saves padding. --no-length-grouped: batches are drawn at
    random alone."""

    workers: int = 1
    """Processes that train together (Ray Train, one GPU each where there are GPUs). The batch is shared out among
    them, so that their number changes the speed alone."""

    max_seq_length: int | None = None
    """Cut inputs to so many tokens. Unset: the model's own limit."""

    keep_layers: Names = NO_NAMES
    """Make a smaller model of these layers of the base (0,5), counted from 0. Unset: all."""

    checkpoint_steps: int | None = None
    """Keep a checkpoint every so many steps, from which a run that was cut short goes on. Unset: with each
    measurement, and at least every 500 steps."""

    log_steps: int = 10
    """Note loss, learning rate and speed every so many steps, for the report and TensorBoard."""

    name: str = ""
    """Name of the data, for the model card and the report."""

    shard_rows: int | None = None
    """Rows of a shard of the examples' preparation. Unset: by the size of the data."""

    seed: int = 0
    """Of everything that is drawn at random: a new head, the order of the examples, dropout."""

    trust_remote_code: bool = False
    """Run Python code that the model folder brings along."""

    allow_pickle: bool = False
    """Load pickled weights (*.bin), which can run code when they are opened."""

    @property
    def layers(self) -> tuple[int, ...]:
        """--keep-layers as numbers."""
        return tuple(int(layer) for layer in self.keep_layers)

    def check_training_flags(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        require_at_least(self, 1, "batch_size", "micro_batch_size", "workers", "eval_steps", "checkpoint_steps")
        require_at_least(self, 1, "log_steps", "shard_rows", "max_seq_length")
        if not self.data:
            raise ConfigError("--data names no file", "give at least one file, folder or glob")
        if not 0 < self.epochs < float("inf"):
            raise ConfigError(f"--epochs {self.epochs:g} must be above 0", "give 1, 2 or 0.5")
        if not 0 < self.lr < 1:
            raise ConfigError(f"--lr {self.lr:g} must be above 0 and below 1", "2e-5 is the default")
        if not 0 <= self.warmup_ratio < 1:
            raise ConfigError(f"--warmup-ratio {self.warmup_ratio:g} must be from 0 to below 1", "0.1 is the default")
        for flag in ("weight_decay", "max_grad_norm"):
            if not 0 <= getattr(self, flag) < float("inf"):
                raise ConfigError(f"--{flag.replace('_', '-')} {getattr(self, flag):g} must be 0 or more", "")
        if not 0 < self.label_scale < float("inf"):
            raise ConfigError(f"--label-scale {self.label_scale:g} must be above 0", "labels are divided by it")
        if not all(layer.isdigit() for layer in self.keep_layers):
            raise ConfigError(f"--keep-layers {','.join(self.keep_layers)} must be numbers", "write 0,5")
        if self.workers > self.batch_size:
            raise ConfigError(
                f"--batch-size {self.batch_size} leaves some of --workers {self.workers} without an example",
                "the batch is shared out among the workers: give a larger one",
            )


@dataclass(frozen=True, kw_only=True)
class TrainBiEncoderConfig(TrainConfig):
    """Train a bi-encoder on pairs of sentences with a similarity, such as the STS benchmark."""

    loss: BiEncoderLoss = "cosine"
    """cosine: the squared difference of cosine and label; cosent: pairs are ranked by cosine as by label; angle: the
    same by the angle in complex space."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        self.check_training_flags()
        if self.evaluator not in ("auto", "correlation"):
            raise ConfigError(
                f"--evaluator {self.evaluator} measures cross-encoders", "use correlation, or leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class TrainCrossEncoderConfig(TrainConfig):
    """Train a cross-encoder on labelled pairs, on queries with positives and negatives, or on a teacher's scores."""

    loss: CrossEncoderLoss = "bce"
    """bce: binary cross-entropy, labels from 0 to 1; ce: cross-entropy, labels are classes; mse: squared difference of
    logit and label, which is a teacher's logit; margin-mse: the same of the differences between a positive and its
    negatives."""

    data_format: Literal["auto", "pairs", "tuples", "lists", "qrels", "id-triples", "teacher", "hard-negatives"] = (
        "auto"
    )
    """pairs: two texts and a label. tuples: a query, a positive, negatives (what mine_hard_negatives writes; MS MARCO's
    triples of texts). lists: a query, a list of documents, a list of labels. By ids, with --queries and --collection,
    as MS MARCO has them: qrels; id-triples (query, positive, negative); teacher (two scores, query, positive,
    negative); hard-negatives (JSON lines). auto: by the columns."""

    text_columns: Names = NO_NAMES
    """The columns (a,b) that hold the texts of an example: query and document; of tuples query, positive and
    negatives. Unset: by the names that mine_hard_negatives gives."""

    label_column: Names = NO_NAMES
    """Column of the labels; of tuples a column of lists of scores, or one (a,b) for each document. Unset: label,
    labels, score or scores, where the loss needs any."""

    queries: tuple[str, ...] = ()
    """Files of the queries that --data names by id: id and text (TSV without header, as MS MARCO's)."""

    collection: tuple[str, ...] = ()
    """Files of the documents that --data names by id, likewise."""

    negatives_per_positive: int | None = None
    """For each positive pair so many negative ones. Of tuples and id-triples a positive is taken once for so many of
    the negatives that follow; unset: once for all neighbouring rows that repeat it. Of hard-negatives so many are
    drawn; unset: 4."""

    negative_systems: Names = NO_NAMES
    """Of hard-negatives: the systems whose negatives are taken (bm25,…). Unset: all."""

    num_labels: int | None = None
    """Logits of a new head. Unset: 1; of --loss ce as many as there are classes in --data."""

    @property
    def format(self) -> Format | None:
        """The format of --data that holds the texts themselves; None where it is not said, or names them by id."""
        return cast(Format, self.data_format) if self.data_format in get_args(Format) else None

    @property
    def id_format(self) -> IdFormat | None:
        """The format of --data that names texts by id; None where it holds the texts themselves."""
        return cast(IdFormat, self.data_format) if self.data_format in get_args(IdFormat) else None

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        self.check_training_flags()
        require_at_least(self, 1, "negatives_per_positive", "num_labels")
        by_ids = self.id_format is not None
        if by_ids != bool(self.queries and self.collection):
            flags = "--queries and --collection"
            raise ConfigError(
                f"--data-format {self.data_format} needs {flags}" if by_ids else f"{flags} are for texts by id",
                "give both" if by_ids else f"leave them out, or name the format: {', '.join(get_args(IdFormat))}",
            )
        if self.loss != "ce" and self.num_labels not in (None, 1):
            raise ConfigError(
                f"--loss {self.loss} trains one logit, and --num-labels is {self.num_labels}", "use --loss ce"
            )
