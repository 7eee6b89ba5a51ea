"""Flags that every job has, and those that several have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.store.readers.spec import ReadSpec, ValueColumn


class Names(tuple[str, ...]):
    """Several names; written `a,b` on the command line."""


NO_NAMES = Names()
LEAST_COSINE, LEAST_CORRELATION = 0.999, 0.99
"""What results in fewer bits must reach beside those in float32, where no flag says it."""
LEAST_OF_GRAPHS = 0.95
"""The same of exported graphs, which may compute in int8 and were measured when they were made."""


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """How a command tells of itself."""

    log_format: Literal["text", "json"] = "text"
    """What the command writes: text, or json, an object a line: on standard error progress, warnings and errors, on
    standard output the figures of the result."""


@dataclass(frozen=True, kw_only=True)
class JobConfig(LogConfig):
    """Where a job writes and on what it runs."""

    output: str
    """Folder for the result: a local path or any fsspec URL such as s3://bucket/folder. A run that was cut short
    goes on where it stopped; a finished one is left as it is."""

    overwrite: bool = False
    """Remove what an earlier run of this job left in --output and start again."""

    actors: str = "auto"
    """Model actors: N, or MIN:MAX for a pool that grows while shards wait. MIN must fit at the start; MAX is cut to
    what fits, unless the cluster is one that `ray up` or KubeRay made, whose autoscaler is then asked for machines and
    must be allowed as many as MAX takes. There, 0:MAX waits for a first machine that holds an actor, half an hour at
    most; later the pool has one actor at least. auto: as many as fit on what is there, one a GPU; where there are none,
    as many as CPUs and memory hold."""

    gpus_per_actor: float | None = None
    """GPUs of one actor; a fraction lets actors share a GPU. Unset: 1 where the cluster has GPUs, else 0; name it
    where the machines with GPUs are still to come."""

    cpus_per_actor: float | None = None
    """CPUs of one actor, and so its compute threads. Unset: 1 beside a GPU; else about one (with OpenVINO up to four,
    unless --actors is given), or more where there are fewer shards than CPUs or memory holds fewer actors; half a CPU
    is left for reading and writing."""

    address: str | None = None
    """Ray cluster to join: `auto`, HOST:PORT or ray://HOST:PORT. Unset: RAY_ADDRESS (`ray job submit` sets it), else
    a Ray on this machine alone."""

    debug: bool = False
    """Show tracebacks and Ray's own log lines."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Flags of jobs that read texts."""

    text_columns: Names = NO_NAMES
    """Column or columns (a,b) that hold the text; several are joined by a space. Unset: the only text column, or the
    one called `text`; title and text of a BEIR folder; the line of a plain text file."""

    id_column: str | None = None
    """Column of unique ids (strings or integers). Unset: `_id` of a BEIR folder, else the row's number."""

    columns: Names = NO_NAMES
    """Names (a,b,c) of the columns of CSV/TSV files that have no header line."""

    quotes: bool = True
    """CSV/TSV fields may be quoted, as RFC 4180 has it. --no-quotes takes quotes as they are (MS MARCO's TSV)."""

    on_bad_row: Literal["fail", "skip"] = "fail"
    """A row whose text is missing, not a string or not readable: fail before any model is loaded, or skip it, count
    it and list it in rejects.parquet."""

    def read_spec(self) -> ReadSpec:
        """The columns that the flags name."""
        return ReadSpec(
            id_column=self.id_column,
            text_columns=self.text_columns,
            columns=self.columns or None,
            quotes=self.quotes,
        )


@dataclass(frozen=True, kw_only=True)
class CorpusTextConfig:
    """Flags of jobs that read the texts of a corpus beside those of queries."""

    corpus_text_columns: Names = NO_NAMES
    """Column or columns (a,b) of the corpus's text. Unset: found as those of --text-columns are, which are the
    queries'."""

    corpus_id_column: str | None = None
    """Column of the corpus's ids. Unset: `_id` of a BEIR folder, else the row's number."""

    corpus_columns: Names = NO_NAMES
    """Names (a,b,c) of the columns of the corpus's CSV/TSV files, where they have no header line."""

    def corpus_read_spec(self, quotes: bool) -> ReadSpec:
        """The columns that the flags name."""
        return ReadSpec(
            id_column=self.corpus_id_column,
            text_columns=self.corpus_text_columns,
            columns=self.corpus_columns or None,
            quotes=quotes,
        )


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How transformers are run."""

    backend: Literal["auto", "torch", "openvino", "onnx"] = "auto"
    """What runs the model. openvino and onnx convert it on first use, once a machine. auto: torch on GPUs; on CPUs
    openvino where it is installed; or what the output was begun with."""

    file_name: str | None = None
    """Exported graph of the model folder to run in place of its weights, such as model_qint8_avx512_vnni.onnx or
    openvino_model_qint8_quantized.xml (see jobs.export_model); its name tells the backend. The weights are what its
    results are compared with; where it lies without them, it is compared with itself in float32. Unset: the weights."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the transformer. auto: bfloat16 where the hardware has it (float16 on GPUs that lack it), else
    float32; or what the output was begun with. float32 gives the numbers of Sentence Transformers' default; onnx
    computes in no other."""

    max_seq_length: int | None = None
    """Cut inputs to so many tokens. Unset: the model's own limit."""

    batch_tokens: int | None = None
    """Tokens of a batch, padding included; inputs are sorted by length first. Unset: what suits the device."""

    trust_remote_code: bool = False
    """Run Python code that the model folder brings along."""

    allow_pickle: bool = False
    """Load pickled weights (*.bin), which can run code when they are opened."""

    def least_agreement(self, flag: str, usual: float) -> float:
        """The value of --min-cosine or --min-correlation; unset, what is usual, or allowed of an exported graph."""
        value: float | None = getattr(self, flag)
        return value if value is not None else usual if self.file_name is None else LEAST_OF_GRAPHS

    def check_compute_flags(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        for flag in ("min_cosine", "min_correlation"):
            least = getattr(self, flag, None)
            if least is not None and not -1.0 <= least <= 1.0:
                raise ConfigError(f"--{flag.replace('_', '-')} {least:g} must be between -1 and 1", "0.999 is high")
        require_at_least(self, 1, "max_seq_length", "batch_tokens")
        if self.file_name is not None and self.backend == "torch":
            raise ConfigError("--file-name names a graph, which --backend torch does not run", "leave one of them out")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ComputeConfig):
    """Flags of jobs that run a transformer over texts."""

    prompt: str | None = None
    """Text put before every input, e.g. 'query: '."""

    prompt_name: str | None = None
    """Name of one of the prompts in the model's own configuration. Unset: for queries `query`, where it has one."""

    def check_model_flags(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        self.check_compute_flags()
        if self.prompt is not None and self.prompt_name is not None:
            raise ConfigError("--prompt and --prompt-name were both given", "give one of them")


@dataclass(frozen=True, kw_only=True)
class ModelJobConfig(ModelConfig, JobConfig):
    """Flags of jobs whose actors run a model."""


@dataclass(frozen=True, kw_only=True)
class DataJobConfig(TextConfig, ModelJobConfig):
    """Flags of jobs whose actors run a model over rows of several texts."""

    data: tuple[str, ...]
    """Files, folders or globs of texts: Parquet, JSON lines, CSV or TSV."""

    shard_rows: int | None = None
    """Rows of a shard, the unit of work, commit and retry. Unset: by the size of the data."""

    def check_data_flags(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        require_at_least(self, 1, "shard_rows")

    def spec_of(self, text: str, *values: ValueColumn) -> ReadSpec:
        """The columns to read."""
        return ReadSpec(self.id_column, (text,), self.columns or None, quotes=self.quotes, values=values)


def require_at_least(config: object, least: int, *flags: str) -> None:
    """Raise ConfigError for one of the flags (fields of `config`) that is a number below `least`."""
    for flag in flags:
        value = getattr(config, flag)
        if value is not None and value < least:
            name = "--" + flag.replace("_", "-")
            raise ConfigError(f"{name} {value} must be {least} or more", "give such a number, or leave it out")
