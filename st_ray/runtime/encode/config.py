"""The encode job's flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import NO_NAMES, JobConfig, Names


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(JobConfig):
    """Embed every text of a corpus with a bi-encoder, into a folder of Parquet shards."""

    input: tuple[str, ...]
    """Files, folders or globs, local or s3:// (any fsspec URL): Parquet, JSONL, CSV/TSV, plain text (one text a line;
    these three also .gz and .zst), a folder saved by `datasets`, or a BEIR folder. Read in the order given."""

    model: str
    """Bi-encoder: a folder as Sentence Transformers writes it, a plain transformers folder (mean pooling), a hub id,
    an s3:// folder, or package:NAME for a model inside an installed Python package."""

    text_columns: Names = NO_NAMES
    """Column or columns (a,b) that hold the text; several are joined by a space. Unset: the only text column, or the
    one called `text`; title and text of a BEIR folder; the line of a plain text file."""

    id_column: str | None = None
    """Column of unique ids (strings or integers). Unset: `_id` of a BEIR folder, else the row's number."""

    columns: Names = NO_NAMES
    """Names (a,b,c) of the columns of CSV/TSV files that have no header line."""

    quotes: bool = True
    """CSV/TSV fields may be quoted, as RFC 4180 has it. --no-quotes takes quotes as they are (MS MARCO's TSV)."""

    prompt: str | None = None
    """Text put before every input, e.g. 'query: '."""

    prompt_name: str | None = None
    """Name of one of the prompts in the model's own configuration."""

    backend: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the model. openvino converts it on first use, once a machine. auto: torch on GPUs; on CPUs openvino
    where it is installed; or what the output was begun with."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the transformer. auto: bfloat16 where the hardware has it (float16 on GPUs that lack it), else
    float32; or what the output was begun with. float32 gives the numbers of Sentence Transformers' default."""

    min_cosine: float = 0.999
    """Every actor measures its embeddings of a sample of the corpus by their cosine to those in float32, unless it
    computes in float32; below this it stops before anything is committed."""

    precision: Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"] = "float32"
    """What is stored: floats, int8 or uint8 steps between the least and the greatest value that a sample has in each
    dimension, or bits, eight dimensions a byte."""

    normalize: bool = False
    """Scale every embedding to length 1 (models that end in a Normalize module do so anyway)."""

    truncate_dim: int | None = None
    """Keep the first so many dimensions (Matryoshka models)."""

    max_seq_length: int | None = None
    """Cut texts to so many tokens. Unset: the model's own limit."""

    shard_rows: int = 50_000
    """Rows of a shard, the unit of work, commit and retry. Memory grows with it; a second of work or more is good."""

    batch_tokens: int | None = None
    """Tokens of a batch, padding included; texts are sorted by length first. Unset: what suits the device."""

    keep_text: bool = False
    """Store the texts beside their embeddings."""

    reuse: str | None = None
    """A finished embedding store of the same model and settings: rows whose text is in it, anywhere, take their
    embedding from there. backend and dtype, where they are auto, are its own."""

    plan: bool = False
    """Only look: scan the input, sample its tokens, measure the model for some seconds on the hardware at hand, and
    tell how long --actors of it would take. Nothing is written."""

    price_per_hour: float | None = None
    """With --plan: what one actor costs an hour (its machine's price over its actors); adds the cost of the run."""

    on_bad_row: Literal["fail", "skip"] = "fail"
    """A row whose text is missing, not a string or not readable: fail before any model is loaded, or skip it, count
    it and list it in rejects.parquet."""

    seed: int = 0
    """Of the sample of the corpus that --min-cosine and the ranges of int8 and uint8 are measured on."""

    check_ids: bool = True
    """Look for duplicate ids before encoding: ids are hashed to 16 bytes while the files are scanned and compared
    exactly, about a second and 50 MB for each million rows. --no-check-ids leaves it out."""

    trust_remote_code: bool = False
    """Run Python code that the model folder brings along."""

    allow_pickle: bool = False
    """Load pickled weights (*.bin), which can run code when they are opened."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a number that makes no sense."""
        if not self.input:
            raise ConfigError("--input names no file", "give at least one file, folder or glob")
        for flag in ("shard_rows", "batch_tokens", "truncate_dim", "max_seq_length"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                name = "--" + flag.replace("_", "-")
                raise ConfigError(f"{name} {value} must be 1 or more", "give a positive number, or leave it out")
        if not -1.0 <= self.min_cosine <= 1.0:
            raise ConfigError(f"--min-cosine {self.min_cosine:g} must be between -1 and 1", "0.999 is the default")
        if self.price_per_hour is not None and self.price_per_hour < 0:
            raise ConfigError(f"--price-per-hour {self.price_per_hour:g} is negative", "give a price, or leave it out")
        if self.reuse is not None and self.reuse.rstrip("/") == self.output.rstrip("/"):
            raise ConfigError("--reuse names the output itself", "write to a new --output")
        if self.prompt is not None and self.prompt_name is not None:
            raise ConfigError("--prompt and --prompt-name were both given", "give one of them")
