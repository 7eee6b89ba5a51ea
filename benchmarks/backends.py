"""Every backend and precision beside Sentence Transformers: speed, and what it costs in quality, in one table.

    python -m benchmarks.backends --data FOLDER --output FOLDER [--peer-python PYTHON]

The data folder holds cranfield/ (a BEIR folder) and stsb/ (dev.csv: sentence, sentence, score). The graphs are made
first, by jobs.export_model, below the output. Rates are those of benchmarks.encode; cosines are to the embeddings of
the peer's default, of the short texts. Quality is nDCG@10 of Cranfield (cosine, all documents) and the rank correlation
(Spearman) of cosines with the scores of dev.csv. A plot of speed and quality lies in OUTPUT/backends.svg.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoConfig

from benchmarks.encode import DEFAULT, MODEL, Result, Setting, run_job, run_peer
from benchmarks.jobs import run_job as job
from benchmarks.machine import flops_per_token, gemm_peak
from benchmarks.texts import glosses, turned
from st_ray.core.figure import svg_figure
from st_ray.evaluation.qrels import Qrels
from st_ray.evaluation.retrieval import parse_metrics, score_hits
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.source import resolve_model
from st_ray.scoring.agreement import cosines, rank_correlation
from st_ray.scoring.similarity import pairwise_cos_sim
from st_ray.search.semantic import semantic_search

INT8 = {"onnx": "model_qint8_avx512_vnni.onnx", "openvino": "openvino_model_qint8_quantized.xml"}


@dataclass(frozen=True)
class Measured:
    """One way to encode: texts/s of short and of long texts, agreement with the peer's default, and quality."""

    setting: Setting
    short: Result
    long: Result
    ndcg: float
    spearman: float


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cranfield/ and stsb/")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--glosses", type=int, default=40_000, help="short texts (default 40000)")
    parser.add_argument("--only", default="", help="only settings whose name holds this, beside the peer's default")
    parser.add_argument(
        "--peer-python", default="", metavar="PYTHON", help="of an environment with sentence-transformers[openvino]"
    )
    args = parser.parse_args()
    exported = export(args.data, args.output)
    peaks = {dtype: gemm_peak(getattr(torch, dtype)) for dtype in ("float32", "bfloat16")}
    print(f"GEMM peak in GFLOP/s: {', '.join(f'{name} {peak / 1e9:,.0f}' for name, peak in peaks.items())}", flush=True)
    quality = Quality.of(args.data)
    short = glosses(args.glosses)
    found = []
    settings = all_settings(exported, args.peer_python)
    for setting in [settings[0], *(one for one in settings[1:] if args.only in str(one))]:
        results = [encoded(setting, texts) for texts in (short, turned(quality.documents))]
        found.append(
            Measured(setting, *results, *quality.measure(setting, results[1].embeddings[: len(quality.documents)]))
        )
        print(f"  {setting}: {found[-1].short.rate:,.0f}, {found[-1].long.rate:,.0f} texts/s", flush=True)
    report(found, peaks)
    (args.output / "backends.svg").write_bytes(plot(found))


def encoded(setting: Setting, texts: list[str]) -> Result:
    return run_peer(setting, texts) if setting.who == "peer" else run_job(texts, setting)


def export(data: Path, output: Path) -> dict[str, str]:
    """Model folders with an int8 graph each, by backend, and the optimized one of ONNX."""
    model, texts = f"--model {MODEL}", f"--calibration {data}/cranfield/corpus.jsonl --text-columns text"
    job(f"export_model {model} --backend openvino --quantize static {texts} --output {output}/openvino")
    job(f"export_model {model} --backend onnx --quantize avx512_vnni --output {output}/onnx")
    job(f"export_model {model} --backend onnx --optimize O3 --output {output}/O3")
    return {name: f"{output}/{name}" for name in ("openvino", "onnx", "O3")}


def all_settings(exported: dict[str, str], peer_python: str) -> list[Setting]:
    int8 = {name: {"model": exported[name], "graph": INT8[name]} for name in INT8}
    peers = [DEFAULT, Setting("peer", "torch", "bfloat16")]
    if peer_python:
        peers += [Setting("peer", "openvino", dtype, python=peer_python) for dtype in ("float32", "bfloat16")]
        peers += [Setting("peer", "openvino", "bfloat16", python=peer_python, **int8["openvino"])]
    ours = [Setting("st-ray", backend, dtype) for backend in ("torch", "openvino") for dtype in ("float32", "bfloat16")]
    return [
        *peers,
        *ours,
        Setting("st-ray", "openvino", "bfloat16", **int8["openvino"]),
        Setting("st-ray", "onnx", "float32"),
        Setting("st-ray", "onnx", "float32", model=exported["O3"], graph="model_O3.onnx"),
        Setting("st-ray", "onnx", "float32", **int8["onnx"]),
    ]


@dataclass(frozen=True)
class Quality:
    """The texts and judgements that quality is measured on."""

    ids: list[str]
    documents: list[str]
    queries: dict[str, str]
    qrels: Qrels
    pairs: list[tuple[str, str]]
    gold: np.ndarray

    @classmethod
    def of(cls, data: Path) -> Quality:
        folder = data / "cranfield"
        corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
        queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
        judged: dict[str, dict[str, int]] = {}
        with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                judged.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
        with (data / "stsb" / "dev.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        return cls(
            [row["_id"] for row in corpus],
            [f"{row['title']} {row['text']}" for row in corpus],
            {row["_id"]: row["text"] for row in queries},
            Qrels.from_dict(judged),
            [(first, second) for first, second, _ in rows],
            np.array([float(score) for *_, score in rows]),
        )

    def measure(self, setting: Setting, documents: np.ndarray) -> tuple[float, float]:
        """nDCG@10 with these embeddings of the documents, and Spearman's rho; the peer's queries are st-ray's own."""
        ours = setting.who != "peer"
        encoder = BiEncoder(
            resolve_model(setting.model if ours else MODEL),
            device="cpu",
            backend=setting.backend if ours else "torch",
            dtype=setting.dtype if ours else "float32",
            file_name=setting.graph if ours else None,
        )
        hits = semantic_search(encoder.encode(list(self.queries.values())), documents, top_k=10)
        rows = [
            (query, self.ids[int(hit["corpus_id"])], rank)
            for query, found in zip(self.queries, hits, strict=True)
            for rank, hit in enumerate(found, 1)
        ]
        table = pa.table(dict(zip(("query_id", "corpus_id", "rank"), map(list, zip(*rows, strict=True)), strict=True)))
        [ndcg] = score_hits(table, self.qrels, parse_metrics(["ndcg@10"])).means(self.qrels).values()
        first, second = (encoder.encode([pair[side] for pair in self.pairs]) for side in (0, 1))
        return ndcg, rank_correlation(np.asarray(pairwise_cos_sim(first, second)), self.gold)


def report(found: list[Measured], peaks: dict[str, float]) -> None:
    default = found[0]
    config: Any = AutoConfig.from_pretrained(resolve_model(MODEL))
    lengths = [max(one.short.tokens for one in found) / len(default.short.embeddings)]
    lengths.append(max(one.long.tokens for one in found) / len(default.long.embeddings))
    titles = ("texts/s", "ratio", "of peak", "texts/s", "ratio", "of peak", "cosine", "mean", "nDCG@10", "Spearman")
    print(f"\n{'':58}" + "".join(f"{title:>9}" for title in titles))
    for one in found:
        line = f"{one.setting!s:58}"
        for ours, base, length in zip((one.short, one.long), (default.short, default.long), lengths, strict=True):
            share = ours.rate * length * flops_per_token(config, length) / peaks[one.setting.dtype]
            line += f"{ours.rate:9,.0f}{ours.rate / base.rate:9.2f}{share:9.0%}"
        agreement = cosines(one.short.embeddings, default.short.embeddings)
        line += f"{agreement.min():9.4f}{agreement.mean():9.4f}"
        print(line + (f"{one.ndcg:9.4f}{one.spearman:9.4f}" if one.setting.who != "peer" else ""))


def plot(found: list[Measured]) -> bytes:
    """SVG: nDCG@10 over the ratio to the peer's default; a line for each setting, from long texts to short ones."""
    ours = sorted((one for one in found if one.setting.who != "peer"), key=lambda one: (one.ndcg, one.short.rate))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, one in enumerate(ours):
            ratios = [one.long.rate / found[0].long.rate, one.short.rate / found[0].short.rate]
            (line,) = axes.plot(ratios, [place, place], linewidth=2)
            axes.scatter(ratios[:1], [place], facecolors="white", edgecolors=line.get_color(), zorder=3)
            axes.scatter(ratios[1:], [place], color=line.get_color(), zorder=3)
            axes.annotate(f"{one.ndcg:.4f}", (max(ratios), place), textcoords="offset points", xytext=(8, -3))
        axes.set_yticks(range(len(ours)), [_name(one.setting) for one in ours])
        axes.set_xlim(1, axes.get_xlim()[1] + 0.6)
        axes.set_xlabel("texts/s, times Sentence Transformers' default: long texts hollow, short ones filled")
        axes.set_title("nDCG@10 of Cranfield stands behind each, the best on top", fontsize=10)

    return svg_figure(draw, (7.2, 3.9))


def _name(setting: Setting) -> str:
    if setting.graph in INT8.values():
        return f"{setting.backend} int8"
    return f"{setting.backend} {setting.dtype}{' O3' if setting.graph else ''}"


if __name__ == "__main__":
    main()
