"""The transformer of a model folder as one torch module with the inputs and the output that exported graphs have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from st_ray.core.errors import ModelError
from st_ray.models.bert_layers import FusedSelfAttention, rewrite_layers
from st_ray.models.folder import ModelFolder
from st_ray.models.graph_files import IDS, MASK, TYPES
from st_ray.models.options import LoadOptions
from st_ray.models.specs import ClassifierSpec, TransformerSpec
from st_ray.models.transformer import Classifier, load_classifier, load_transformer

Batch = Mapping[str, np.ndarray]
"""Inputs of a graph, by name."""
_MOST_DIFFERENCE = 1e-3


class NamedGraph(nn.Module):
    """A transformer that takes int64 `[rows, length]` of each of its `inputs` and gives float32.

    Attributes:
        inputs: names of its inputs, in the order in which it takes them.
        output: last_hidden_state `[rows, length, hidden]`, or logits `[rows, labels]`.
        config: the model's own, of the transformers library.
    """

    def __init__(
        self, folder: ModelFolder, options: LoadOptions, attention: type[FusedSelfAttention] | None = None
    ) -> None:
        """Load the folder's weights; layers of the BERT family are rewritten with this `attention`.

        Raises:
            ModelError: the folder holds no transformer, or a damaged one.
        """
        super().__init__()
        spec = folder.first
        if not isinstance(spec, TransformerSpec):
            raise ModelError(
                f"{folder.path} is a table of embeddings, of which there is no graph", "use it with --backend torch"
            )
        how = (torch.float32, options.trust_remote_code, options.allow_pickle)
        classifier = isinstance(spec, ClassifierSpec)
        self.first = load_classifier(spec, *how) if isinstance(spec, ClassifierSpec) else load_transformer(spec, *how)
        self.output = "logits" if classifier else "last_hidden_state"
        self.config: Any = self.first.model.config
        self.inputs = (IDS, MASK, TYPES) if self._takes_types() else (IDS, MASK)
        rewrite_layers(self.first.model, first_token=classifier, attention=attention)
        self.eval()

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        """The output; `mask` is 1 for tokens and 0 for padding."""
        found: Tensor = self.first(ids, mask, types)
        return found

    def trial_batches(self) -> Iterator[Batch]:
        """Inputs of several shapes: what tracing has frozen at the first one's shows at the others."""
        rng = np.random.default_rng(0)
        vocabulary, positions = self.first.vocabulary or 1000, self.first.positions or 64
        for lengths in ([9, 5, 3], [min(positions, 40)], [12, 12], [17, 16, 8, 8, 4]):
            shape = (len(lengths), max(lengths))
            mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
            batch = {IDS: rng.integers(0, vocabulary, shape), MASK: mask, TYPES: rng.integers(0, 2, shape)}
            yield {name: batch[name] for name in self.inputs}

    def tensors(self, batch: Batch) -> tuple[Tensor, ...]:
        """The inputs of a batch, in order."""
        return tuple(torch.from_numpy(batch[name]) for name in self.inputs)

    @torch.inference_mode()
    def expected(self, batch: Batch) -> np.ndarray:
        """What the module gives; zero where there is no token."""
        found: np.ndarray = self(*self.tensors(batch)).numpy()
        return found if self.output == "logits" else found * batch[MASK][..., None]

    def check(self, run: Callable[[Batch], np.ndarray], batches: Sequence[Batch], title: str) -> None:
        """Raise ModelError where `run`, the graph that was made of this for `title`, gives something else."""
        for batch in batches:
            found, expected = run(batch), self.expected(batch)
            if self.output != "logits":
                found = found * batch[MASK][..., None]
            if not np.allclose(found, expected, rtol=_MOST_DIFFERENCE, atol=_MOST_DIFFERENCE):
                raise ModelError(
                    f"converted for {title}, the model gives other results (the largest difference is "
                    f"{np.abs(found - expected).max():.5f})",
                    "use --backend torch",
                )

    def _takes_types(self) -> bool:
        if isinstance(self.first, Classifier):
            return self.first.takes_type_ids
        # Sentence Transformers gives a graph type ids where the tokenizer makes them, which BERT's does.
        return getattr(self.config, "type_vocab_size", 0) > 1
