"""A graph in ONNX Runtime on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from st_ray.core.errors import ModelError, reason_of


class OnnxGraph:
    """A loaded graph with the inputs that transformers gives a model: int64 `[rows, length]`.

    Attributes:
        inputs: names of those it takes.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load `path` with so many threads; None for the library's own number.

        Raises:
            ModelError: the file is damaged, or holds what this version cannot run.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        # Several actors share a machine, and threads that wait for work by spinning would take each other's time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library has a class of its own for each of its states
            raise ModelError(
                f"ONNX Runtime cannot load {path}: {reason_of(error)}", "export it again with jobs.export_model"
            ) from error
        self.inputs = frozenset(one.name for one in self._session.get_inputs())
        self._output = self._session.get_outputs()[0].name

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Its first output, float32: the last hidden state `[rows, length, hidden]`, or logits `[rows, labels]`."""
        found: np.ndarray = self._session.run([self._output], inputs)[0]
        return found.astype(np.float32, copy=False)
