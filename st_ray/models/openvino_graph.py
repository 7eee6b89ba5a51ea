"""A graph in OpenVINO on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino

from st_ray.core.errors import ModelError
from st_ray.models.graph_files import INPUTS
from st_ray.models.options import LoadOptions

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def compiled_request(path: Path, options: LoadOptions) -> Any:
    """An inference request of the graph `path`, compiled for this machine's CPU.

    Raises:
        ModelError: the file is damaged, or holds what this version cannot run.
    """
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[options.dtype],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Several actors share a machine: pinned, they would all choose the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    if options.threads is not None:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    try:
        return openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        reason = (str(error).strip() or repr(error)).splitlines()[-1]
        raise ModelError(f"OpenVINO cannot load {path}: {reason}", "export it again with jobs.export_model") from error


class OpenVINOGraph:
    """A `Graph`.

    Attributes:
        inputs: names of those it takes.
    """

    def __init__(self, path: Path, options: LoadOptions) -> None:
        """Compile `path`. Raises what `compiled_request` raises."""
        self._request = compiled_request(path, options)
        self._names = [_name(port) for port in self._request.model_inputs]
        self.inputs = frozenset(self._names)

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """See `Graph.run`."""
        self._request.infer([inputs[name] for name in self._names], share_inputs=True)
        found: np.ndarray = self._request.get_output_tensor(0).data
        return found


def _name(port: Any) -> str:
    """A port may have names of its own beside the exporter's."""
    names = sorted(port.get_names()) or [""]
    known: list[str] = [name for name in names if name in INPUTS]
    return (known or names)[0]
