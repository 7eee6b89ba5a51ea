"""The model that is exported, whichever of the two kinds it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from st_ray.core.errors import ModelError
from st_ray.export.check import Agreement, EncoderAgreement, ScorerAgreement
from st_ray.export.graphs import Batch, single_batches
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.cross_encoder import CrossEncoder
from st_ray.models.folder import ModelFolder, check_weights, read_model_folder
from st_ray.models.options import LoadOptions
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.pair_tokenizer import PairTokenizer
from st_ray.models.source import model_digest, resolve_model
from st_ray.models.tokenizer import TextTokenizer
from st_ray.runtime.export.config import ExportModelConfig


@dataclass(frozen=True)
class ExportedModel:
    """A checked model folder, of which no weight has been loaded.

    Attributes:
        folder: what it says of itself.
        pairs: it is a cross-encoder.
    """

    config: ExportModelConfig
    folder: ModelFolder
    pairs: bool

    @classmethod
    def of(cls, config: ExportModelConfig) -> ExportedModel:
        """The one that the flags name.

        Raises:
            ModelError: it is missing, damaged, or of neither kind.
        """
        path = resolve_model(config.model)
        try:
            folder, pairs = read_pair_folder(path).model, True
        except ModelError:
            folder, pairs = read_model_folder(path), False
        check_weights(folder, config.allow_pickle)
        return cls(config, folder, pairs)

    @property
    def digest(self) -> str:
        """Of its content."""
        return model_digest(self.folder.path)

    @property
    def options(self) -> LoadOptions:
        """How its weights are loaded."""
        config = self.config
        return LoadOptions("cpu", trust_remote_code=config.trust_remote_code, allow_pickle=config.allow_pickle)

    def batches(self, inputs: Sequence[Any]) -> list[Batch]:
        """Texts or pairs as the graph takes them, one a batch."""
        config = self.config
        if not self.pairs:
            tokenizer = TextTokenizer(self.folder, config.max_seq_length, config.trust_remote_code)
            return single_batches(tokenizer.tokenize(inputs, self.folder.prompt()))
        pairs = PairTokenizer.of(self.folder, config.max_seq_length, config.trust_remote_code)
        first, second = ([pair[side] for pair in inputs] for side in (0, 1))
        return single_batches(pairs.tokenize(first, second, prompt=self.folder.prompt()))

    def results(self, path: Path, inputs: Sequence[Any], **how: Any) -> np.ndarray:
        """Embeddings `[n, d]` of texts, or logits `[n, labels]` of pairs, by the model folder `path`."""
        config = self.config
        how |= {"trust_remote_code": config.trust_remote_code, "allow_pickle": config.allow_pickle, "device": "cpu"}
        if self.pairs:
            scorer = CrossEncoder(path, max_length=config.max_seq_length, activation_fn=_same, **how)
            return np.asarray(scorer.predict(list(inputs))).reshape(len(inputs), -1)
        return np.asarray(BiEncoder(path, max_seq_length=config.max_seq_length, **how).encode(list(inputs)))

    def agreement(self, found: np.ndarray, exact: np.ndarray) -> Agreement:
        """How results agree."""
        return (ScorerAgreement if self.pairs else EncoderAgreement).of(found, exact)


def _same(logits: Any) -> Any:
    return logits
