"""The peer's part of `test_export`, in an environment of its own: `python -m tests.parity.export_peer PLACE`.

PLACE/inputs.json          texts, and pairs of texts
PLACE/texts/texts.jsonl    texts to quantize with
PLACE/base/, base-pairs/   models without any graph
PLACE/ours/NAME/           what jobs.export_model made of them; the peer's results with it become ours/NAME.npy
PLACE/theirs/NAME/         what the peer saves of them; its results with that become theirs/NAME.npy
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

GRAPHS = {
    "float32": "openvino_model.xml",
    "int8": "openvino_model_qint8_quantized.xml",
    "pairs": "openvino_model.xml",
}
# Without it the peer computes in bfloat16 where the CPU does.
_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


def opened(folder: Path, pairs: bool, **how: Any) -> Any:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    kind = CrossEncoder if pairs else SentenceTransformer
    settings = {"backend": "openvino", "device": "cpu", "local_files_only": True}
    return kind(str(folder), **settings, model_kwargs={"ov_config": _FLOAT32, **how})


def save_all(place: Path) -> None:
    """Converted and saved by the peer; quantized by it beside that."""
    from optimum.intel import OVQuantizationConfig
    from sentence_transformers import export_static_quantized_openvino_model

    opened(place / "base-pairs", True, export=True).save_pretrained(str(place / "theirs" / "pairs"))
    model = opened(place / "base", False, export=True)
    for name in ("float32", "int8"):
        model.save_pretrained(str(place / "theirs" / name))
    export_static_quantized_openvino_model(
        model,
        OVQuantizationConfig(num_samples=20),
        str(place / "theirs" / "int8"),
        dataset_name=str(place / "texts"),
        dataset_config_name="default",
        dataset_split="train",
        column_name="text",
    )


def main() -> None:
    place = Path(sys.argv[1])
    inputs = json.loads((place / "inputs.json").read_text(encoding="utf-8"))
    save_all(place)
    for side in ("ours", "theirs"):
        for name, file_name in GRAPHS.items():
            pairs = name == "pairs"
            # Where it cannot find the file, it would convert the weights instead.
            model = opened(place / side / name, pairs, export=False, file_name=file_name)
            found = model.predict(inputs["pairs"]) if pairs else model.encode(inputs["texts"])
            np.save(place / side / f"{name}.npy", found)


if __name__ == "__main__":
    main()
