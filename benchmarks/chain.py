"""From a search to a re-ranker of its own: train a cross-encoder on mined negatives, re-rank with it, measure.

    python -m benchmarks.chain --data BEIR_FOLDER --output FOLDER      (make chain: the Cranfield collection)

Two thirds of the judged queries train; the others are seen by no model before the end. They are few, so that the
cross-encoder first learns what the bi-encoder thinks of titles and documents, which needs no judgement (distillation),
and then, from the queries and their hard negatives, what is relevant. Each step is a job with an output of its own
below FOLDER, and its command is printed; a second run goes on where the first one stopped. At the end stands nDCG@10 of
the test queries before and after, and of the difference, with 95 % intervals by the bootstrap over queries.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.jobs import run_job as job
from benchmarks.sts_cross_encoder import BASE
from st_ray.evaluation.bootstrap import confidence_intervals

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels/test.tsv"
TEST_SHARE = 1 / 3
METRIC = "ndcg@10"
REPLICATES = 10_000


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {CORPUS}, {QUERIES} and {QRELS}")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default=BASE, help="bi-encoder that searches, and base of the cross-encoder")
    parser.add_argument("--warm-epochs", type=float, default=1, help="on the bi-encoder's scores (default 1)")
    parser.add_argument("--epochs", type=float, default=2, help="on queries and hard negatives (default 2)")
    parser.add_argument("--max-seq-length", type=int, default=96, help="tokens of a pair (default 96)")
    parser.add_argument("--top-k", type=int, default=50, help="hits that are re-ranked")
    args = parser.parse_args()
    split(args.data, args.output)
    out, corpus, model = (shlex.quote(str(value)) for value in (args.output, args.data / CORPUS, args.model))
    documents = f"--corpus {corpus} --corpus-text-columns title,text"
    queries = f"--queries {out}/test-queries.jsonl --id-column _id --text-columns text"
    mine = f"mine_hard_negatives {documents} --model {model} --sampling-strategy random --output-format labeled-pair"
    train = f"train_cross_encoder --max-seq-length {args.max_seq_length} --warmup-ratio 0.1"
    job(f"{mine} --pairs {out}/titles.jsonl --num-negatives 8 --range-max 200 --output-scores --output {out}/scored")
    job(f"""{train} --base-model {model} --data {out}/scored/data --loss mse --epochs {args.warm_epochs:g} --lr 1e-4
        --output {out}/warm""")
    # No margin: nearly all relevant documents are judged, and the worst of a query's own are far away from it.
    job(f"{mine} --pairs {out}/train-pairs.jsonl --num-negatives 8 --range-max {args.top_k} --output {out}/mined")
    job(f"""{train} --base-model {out}/warm --data {out}/mined/data --loss bce --epochs {args.epochs:g} --lr 3e-5
        --output {out}/cross-encoder""")
    job(f"""encode --input {corpus} --id-column _id --text-columns title,text --model {model}
        --output {out}/embeddings""")
    job(f"search --embeddings {out}/embeddings {queries} --top-k {args.top_k} --output {out}/hits")
    job(f"""rerank --hits {out}/hits {queries} {documents} --corpus-id-column _id
        --cross-encoder {out}/cross-encoder --output {out}/re-ranked""")
    job(f"fuse --hits {out}/hits {out}/re-ranked --top-k {args.top_k} --output {out}/fused")
    found = {}
    for name in ("hits", "re-ranked", "fused"):
        job(f"""evaluate_retrieval --hits {out}/{name} --qrels {out}/test-qrels.tsv --metrics {METRIC}
            --output {out}/measured/{name}""")
        found[name] = by_query(args.output / "measured" / name)
    report(found)


def split(data: Path, out: Path) -> None:
    """Write pairs of titles and of queries to train on with documents, and queries and judgements of the test."""
    corpus = list(lines(data / CORPUS))
    documents = {row["_id"]: f"{row['title']} {row['text']}" for row in corpus}
    queries = {row["_id"]: row["text"] for row in lines(data / QUERIES)}
    with (data / QRELS).open(encoding="utf-8", newline="") as stream:
        judged = [row for row in csv.DictReader(stream, delimiter="\t") if int(row["score"]) > 0]
    names = sorted({row["query-id"] for row in judged})
    drawn = np.random.default_rng(0).permutation(len(names))[: round(len(names) * TEST_SHARE)]
    test = {names[place] for place in drawn}
    known = {queries[name] for name in names if name not in test}
    if twice := [name for name in test if queries[name] in known]:
        raise SystemExit(f"query {twice[0]} of the test has the text of a query to train on: mend {data / QUERIES}")
    pairs = [
        {"query": queries[row["query-id"]], "document": documents[row["corpus-id"]]}
        for row in judged
        if row["query-id"] not in test and documents[row["corpus-id"]].strip()
    ]
    titles = [
        {"query": row["title"], "document": documents[row["_id"]]}
        for row in corpus
        if row["title"].strip() and row["text"].strip()
    ]
    out.mkdir(parents=True, exist_ok=True)
    write(out / "titles.jsonl", map(json.dumps, titles))
    write(out / "train-pairs.jsonl", map(json.dumps, pairs))
    write(out / "test-queries.jsonl", (json.dumps({"_id": name, "text": queries[name]}) for name in sorted(test)))
    kept = (f"{row['query-id']}\t{row['corpus-id']}\t{row['score']}" for row in judged if row["query-id"] in test)
    write(out / "test-qrels.tsv", ["query-id\tcorpus-id\tscore", *kept])
    print(f"{len(known)} queries with {len(pairs):,} relevant documents to train on, {len(test)} queries to test on")


def lines(path: Path) -> Iterator[dict[str, str]]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def write(path: Path, rows: Iterable[str]) -> None:
    """Write the file, unless it has this content already: jobs that read it see no change then."""
    text = "".join(f"{row}\n" for row in rows)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def by_query(folder: Path) -> dict[str, float]:
    table = pq.read_table(folder / "data")
    return dict(zip(table["query_id"].to_pylist(), table[METRIC].to_pylist(), strict=True))


def report(found: dict[str, dict[str, float]]) -> None:
    """Means over queries, and of what re-ranking and fusing change for each query."""
    queries = sorted(found["hits"])
    columns = {name: np.array([values[query] for query in queries]) for name, values in found.items()}
    columns |= {f"{name} - hits": columns[name] - columns["hits"] for name in ("re-ranked", "fused")}
    table = np.array(list(columns.values()))

    def means(values: np.ndarray) -> dict[str, float]:
        return dict(zip(columns, values.mean(axis=1), strict=True))

    figures = means(table)
    intervals = confidence_intervals(
        figures,
        lambda rng: means(table[:, rng.integers(len(queries), size=len(queries))]),
        replicates=REPLICATES,
        seed=0,
    )
    print(f"\n{METRIC} of {len(queries)} test queries, with 95 % intervals")
    for name, figure in figures.items():
        low, high = intervals[name]
        print(f"  {name:<18}{figure:8.4f}   [{low:.4f}, {high:.4f}]")


if __name__ == "__main__":
    main()
