"""Whether a graph of OpenVINO still computes what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from st_ray.models.openvino_graph import read_graph, written_out
from st_ray.scoring.agreement import cosines

Same = Callable[[np.ndarray, np.ndarray], bool]
Inputs = tuple[np.ndarray, ...]


def trial_batches(vocabulary: int, positions: int, more: str) -> Iterator[Inputs]:
    """Inputs of several shapes: what tracing has frozen at the first one's shows at the others.

    Args:
        vocabulary: ids are below it.
        positions: tokens of a text at most.
        more: `types` or `prompt`, the third input; or nothing.
    """
    rng = np.random.default_rng(0)
    for lengths in ([9, 5, 3], [min(positions, 40)], [12, 12], [17, 16, 8, 8, 4]):
        ids = rng.integers(0, vocabulary, (len(lengths), max(lengths)), dtype=np.int32)
        third = {"types": rng.integers(0, 2, ids.shape, dtype=np.int32), "prompt": np.array([2], np.int32)}
        batch = (ids, np.array(lengths, np.int32))
        yield (*batch, third[more]) if more else batch


def run_graph(graph: Any, batches: Sequence[Inputs]) -> list[np.ndarray]:
    """What `graph` (an openvino.Model) makes of each batch, computing in float32."""
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [compiled(list(batch))[0] for batch in batches]


def is_same_written_out(path: Path, batches: Sequence[Inputs], expected: Sequence[np.ndarray], same: Same) -> bool:
    """Whether the graph `path` gives what is `expected` of the batches with its attention `written_out`, too."""
    for masked in (True, False):
        places = [place for place, (ids, lengths, *_) in enumerate(batches) if masked or lengths.min() == ids.shape[1]]
        found = run_graph(written_out(read_graph(path), masked=masked), [batches[place] for place in places])
        if not all(same(one, expected[place]) for place, one in zip(places, found, strict=True)):
            return False
    return True


def same_direction(found: np.ndarray, expected: np.ndarray, least: float = 0.9999) -> bool:
    """Whether embeddings have at least this cosine."""
    return bool(cosines(found, expected).min() >= least)


def same_logits(found: np.ndarray, expected: np.ndarray, most: float = 1e-3) -> bool:
    """Whether logits differ at most so much, as they are or relatively."""
    return np.allclose(found, expected, rtol=most, atol=most)
