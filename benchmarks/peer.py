"""Sentence Transformers over a file of texts, in a process of its own: `python benchmarks/peer.py --help`.

It imports nothing of st-ray, so that it also runs in an environment of the peer's own (its OpenVINO backend needs other
versions than st-ray's tests).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder")
    parser.add_argument("--texts", required=True, help="JSON file: a list of texts")
    parser.add_argument("--output", required=True, help="where to save the embeddings (.npy)")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--graph", help="exported graph of the model folder")
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    begun = time.perf_counter()
    from sentence_transformers import SentenceTransformer

    how = settings(args.backend, args.dtype) | ({"file_name": args.graph} if args.graph else {})
    model = SentenceTransformer(args.model, device="cpu", backend=args.backend, model_kwargs=how)
    texts = json.loads(Path(args.texts).read_text(encoding="utf-8"))
    model.encode(texts[:64], batch_size=args.batch_size)
    start = time.perf_counter() - begun
    begun = time.perf_counter()
    embeddings = model.encode(texts, batch_size=args.batch_size)
    seconds = time.perf_counter() - begun
    np.save(args.output, np.asarray(embeddings, np.float32))
    print(json.dumps({"rate": len(texts) / seconds, "start": start}))


def settings(backend: str, dtype: str) -> dict[str, Any]:
    if backend == "openvino":
        return {"ov_config": {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype]}}
    return {} if dtype == "float32" else {"torch_dtype": dtype}


if __name__ == "__main__":
    main()
