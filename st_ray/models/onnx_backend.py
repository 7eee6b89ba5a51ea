"""Models with ONNX Runtime on CPUs; what follows the transformer runs in torch."""

from __future__ import annotations

import numpy as np
import torch

from st_ray.core.errors import ModelError
from st_ray.models.batching import PaddedBatch, Tokens, padded_batches
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_checks import cannot_run, check_inputs, check_labels
from st_ray.models.graph_files import IDS, MASK, TYPES, find_graph
from st_ray.models.onnx_conversion import converted_graph
from st_ray.models.onnx_graph import OnnxGraph
from st_ray.models.options import EmbedOptions, LoadOptions, Progress
from st_ray.models.specs import ClassifierSpec, TransformerSpec
from st_ray.models.tail import Tail
from st_ray.models.transformer import model_outline

# Tokens of the text that tries a graph out.
_PROBE = 8


class OnnxBackend:
    """A `Backend` on a CPU."""

    device = "cpu"
    batch_tokens = 1024

    def __init__(self, folder: ModelFolder, options: LoadOptions) -> None:
        """See `load_backend`."""
        spec = folder.first
        if not isinstance(spec, TransformerSpec):
            raise ModelError(f"{folder.path} is a table of embeddings, nothing for a graph", "use --backend torch")
        name = options.file_name
        path = converted_graph(folder, options) if name is None else find_graph(folder.path, "onnx", name)
        self._graph, self._path, self._threads = OnnxGraph(path, options.threads), folder.path, options.threads
        outline = model_outline(spec, options.trust_remote_code)
        self.positions, self.vocabulary, self._padding_id = outline.positions, outline.vocabulary, outline.padding_id
        self._tail = None
        if not isinstance(spec, ClassifierSpec):
            self._tail = Tail(folder.modules[1:], torch.device("cpu"), options.allow_pickle).eval()
        self.dimension = self._probed_dimension(spec)

    def embed(self, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None) -> np.ndarray:
        """See `Backend.embed`."""
        if self._threads is not None:
            torch.set_num_threads(self._threads)  # see TorchBackend.embed
        out = np.empty((len(tokens), options.dimension), np.float32)
        budget = options.batch_tokens or self.batch_tokens
        for batch in padded_batches(tokens, budget, self._padding_id, options.batch_rows):
            out[batch.rows] = self._embed(batch, tokens.prompt_length)[:, : options.dimension]
            if on_batch is not None:
                on_batch(len(batch.rows), int(batch.lengths.sum()), batch.ids.size)
        if options.normalize:
            out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
        return out

    @torch.inference_mode()
    def _embed(self, batch: PaddedBatch, prompt_length: int) -> np.ndarray:
        found = self._graph.run(self._inputs(batch))
        if self._tail is None:
            return found
        embeddings: np.ndarray = self._tail(
            torch.from_numpy(found), torch.from_numpy(batch.lengths), prompt_length
        ).numpy()
        return embeddings

    def _inputs(self, batch: PaddedBatch) -> dict[str, np.ndarray]:
        inputs = {IDS: batch.ids, MASK: np.ones_like(batch.ids) if batch.mask is None else batch.mask}
        if TYPES in self._graph.inputs:
            inputs[TYPES] = np.zeros_like(batch.ids) if batch.type_ids is None else batch.type_ids
        return inputs

    def _probed_dimension(self, spec: TransformerSpec) -> int:
        ids = np.full((1, _PROBE), self._padding_id, np.int64)
        batch = PaddedBatch(np.zeros(1, np.int64), ids, np.full(1, _PROBE, np.int64), None, None)
        check_inputs(self._graph.inputs, self._path)
        try:
            found = self._embed(batch, 0)
        except Exception as error:  # whatever running someone's graph leads to
            raise cannot_run(self._path, error) from error
        if isinstance(spec, ClassifierSpec):
            check_labels(found.shape[-1], spec, self._path)
        return int(found.shape[-1])
