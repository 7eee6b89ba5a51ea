"""Models with OpenVINO on CPUs; nothing of torch is loaded once a model has been converted."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from st_ray.core.errors import ModelError
from st_ray.models.batching import PaddedBatch, Remainder, Tokens, padded_batches
from st_ray.models.folder import ModelFolder
from st_ray.models.in_threads import share_out
from st_ray.models.openvino_conversion import converted_model
from st_ray.models.openvino_graph import compiled_requests
from st_ray.models.options import EmbedOptions, LoadOptions, Progress

# A graph's weights, in bytes, up to which batches without padding have a second copy of it, in which nothing is masked.
# The larger a model, the less of its time is attention.
_TWO_COPIES = 512 << 20
# Tokens of a call from which on they do: the second copy takes as long to compile as it saves over some of these. It is
# the call's own tokens that count, so that a shard's embeddings do not depend on those before it.
_WORTH_A_COPY = 1 << 15
# Attention is faster over lengths that are multiples of 16; in float32, all else takes twice as long.
_REMAINDERS = {"float32": Remainder(16, 300), "bfloat16": Remainder(16, 150)}


class OpenVINOBackend:
    """A `Backend` on a CPU."""

    device = "cpu"
    batch_tokens = 1024

    def __init__(self, folder: ModelFolder, options: LoadOptions) -> None:
        self._path = folder.path
        self._graph, self._facts = converted_model(folder, options)
        self.dimension = self._facts.dimension
        self.positions, self.vocabulary = self._facts.positions, self._facts.vocabulary
        self._options = options
        self._requests = compiled_requests(self._graph, options, masked=self._facts.masks_padding_only or None)
        small = self._graph.with_suffix(".bin").stat().st_size <= _TWO_COPIES
        self._even = self._facts.masks_padding_only and small
        remainder = _REMAINDERS[options.dtype]
        self._remainder = remainder if (self.positions or 0) % remainder.step == 0 else Remainder()

    def embed(self, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None) -> np.ndarray:
        """See `Backend.embed`."""
        out = np.empty((len(tokens), options.dimension), np.float32)
        prompt = [np.array([tokens.prompt_length], np.int32)] if self._facts.takes_prompt_length else []
        budget = options.batch_tokens or self.batch_tokens
        fill, most = self._facts.padding_id, options.batch_rows
        even = self._even and int(tokens.lengths.sum()) >= _WORTH_A_COPY
        batches = padded_batches(tokens, budget, fill, most, even=even, remainder=self._remainder)

        def run(masked: Any, unmasked: Any, batch: PaddedBatch) -> None:
            request = masked if batch.mask is not None else unmasked
            inputs = [batch.ids.astype(np.int32), batch.lengths.astype(np.int32), *self._types(batch), *prompt]
            request.infer(inputs, share_inputs=True)
            out[batch.rows] = request.get_output_tensor().data[:, : options.dimension]

        def tell(batch: PaddedBatch) -> None:
            if on_batch is not None:
                on_batch(len(batch.rows), int(batch.lengths.sum()), batch.ids.size)

        requests = zip(self._requests, self._unmasked if even else self._requests, strict=True)
        share_out(batches, [functools.partial(run, *pair) for pair in requests], tell)
        if options.normalize:
            out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
        return out

    @functools.cached_property
    def _unmasked(self) -> list[Any]:
        return compiled_requests(self._graph, self._options, masked=False)

    def _types(self, batch: PaddedBatch) -> list[np.ndarray]:
        if self._facts.takes_type_ids:
            return [np.zeros_like(batch.ids, np.int32) if batch.type_ids is None else batch.type_ids.astype(np.int32)]
        if batch.type_ids is not None and not self._facts.ignores_type_ids:
            raise ModelError(f"{self._path} distinguishes token types, which the graph does not", "use --backend torch")
        return []
