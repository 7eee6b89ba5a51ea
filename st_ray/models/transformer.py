"""A Hugging Face transformer from a model folder, loaded whole or not at all, as one torch module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from st_ray.core.errors import ModelError
from st_ray.models.specs import ClassifierSpec, TransformerSpec
from st_ray.models.weights import uses_pickle

# Encoder-decoder models of which only the encoder makes embeddings.
_ENCODERS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
    "t5gemma": "T5GemmaEncoderModel",
}
# The last hidden state does not pass through it, and many folders leave it out.
_UNUSED = "pooler."
_AGAIN = "fetch or save the model again"


class _Model(nn.Module):
    """A model of the transformers library.

    Attributes:
        positions: the longest row that the model's learned positions allow; None where they set no limit.
        vocabulary: number of token ids that the model knows; None where it has no table of them.
        padding_id: what to fill padded places with.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.positions = _position_limit(model)
        self.vocabulary = _vocabulary_size(model)
        self.padding_id = max(getattr(model.config, "pad_token_id", None) or 0, 0)

    def _run(self, ids: Tensor, mask: Tensor | None, type_ids: Tensor | None) -> Any:
        inputs = {"input_ids": ids}
        if mask is not None:
            inputs["attention_mask"] = mask
        if type_ids is not None:
            inputs["token_type_ids"] = type_ids
        return self.model(**inputs, return_dict=True)


class Transformer(_Model):
    """Token ids to token embeddings."""

    def forward(self, ids: Tensor, mask: Tensor | None = None, type_ids: Tensor | None = None) -> Tensor:
        """Last hidden state, float32 `[rows, length, hidden]`.

        Args:
            ids: int64 `[rows, length]`.
            mask: 1 for tokens, 0 for padding, `[rows, length]`; None where nothing is padded.
            type_ids: int64 `[rows, length]`, or None where all are zero.
        """
        return self._run(ids, mask, type_ids).last_hidden_state.float()


class Classifier(_Model):
    """Token ids to logits."""

    @property
    def takes_type_ids(self) -> bool:
        """Whether type ids change anything."""
        takes = "token_type_ids" in inspect.signature(self.model.forward).parameters
        return takes and getattr(self.model.config, "type_vocab_size", 0) > 1

    def forward(self, ids: Tensor, mask: Tensor | None = None, type_ids: Tensor | None = None) -> Tensor:
        """Logits, float32 `[rows, labels]`; arguments as of `Transformer`."""
        return self._run(ids, mask, type_ids if self.takes_type_ids else None).logits.float()


def load_transformer(
    spec: TransformerSpec, dtype: torch.dtype, trust_remote_code: bool = False, allow_pickle: bool = False
) -> Transformer:
    """The model in `spec.path`, on the CPU, with weights of `dtype`, ready for inference.

    Raises:
        ModelError: the weights are damaged, of another shape than the configuration says, or incomplete; the
            transformers library would fill the gaps with random numbers.
    """
    return Transformer(_load(spec, _model_class, dtype, trust_remote_code, allow_pickle))


def load_classifier(
    spec: ClassifierSpec, dtype: torch.dtype, trust_remote_code: bool = False, allow_pickle: bool = False
) -> Classifier:
    """The sequence classification model in `spec.path`; see `load_transformer`."""
    from transformers import AutoModelForSequenceClassification

    return Classifier(
        _load(spec, lambda config: AutoModelForSequenceClassification, dtype, trust_remote_code, allow_pickle)
    )


def model_outline(spec: TransformerSpec, trust_remote_code: bool = False) -> Transformer:
    """The model in `spec.path` without its weights, which are not read.

    Raises:
        ModelError: the configuration is damaged, or asks for code that is not trusted.
    """
    from transformers import AutoConfig

    try:
        with _quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(
                spec.path, trust_remote_code=trust_remote_code, local_files_only=True, **spec.config_kwargs
            )
            kind = _model_class(config)
            trusted = {"trust_remote_code": True} if trust_remote_code else {}
            return Transformer(kind.from_config(config, **trusted) if hasattr(kind, "from_config") else kind(config))
    except Exception as error:  # whatever the configuration leads the library to
        raise ModelError(
            f"the model in {spec.path} cannot be made: {type(error).__name__}: {error}",
            f"{_AGAIN}; if it needs code of its own, say that you trust it",
        ) from error


def _load(
    spec: TransformerSpec,
    class_of: Callable[[Any], Any],
    dtype: torch.dtype,
    trust_remote_code: bool,
    allow_pickle: bool,
) -> Any:
    from transformers import AutoConfig

    pickled = uses_pickle(spec.path)
    if pickled and not allow_pickle:
        raise ModelError(f"{spec.path} holds only pickled weights", "allow pickled weights if you trust the source")
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(
                spec.path, trust_remote_code=trust_remote_code, local_files_only=True, **spec.config_kwargs
            )
            model, info = class_of(config).from_pretrained(
                spec.path,
                config=config,
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                use_safetensors=not pickled,
                ignore_mismatched_sizes=True,  # told apart below
                output_loading_info=True,
                **spec.model_kwargs,
            )
    except Exception as error:  # whatever configuration and weights lead the library to
        raise ModelError(
            f"the model in {spec.path} cannot be loaded: {type(error).__name__}: {error}",
            f"{_AGAIN}; if it needs code of its own, say that you trust it",
        ) from error
    _require_all_weights(spec, info, () if isinstance(spec, ClassifierSpec) else (_UNUSED,))
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model.to(dtype).eval()


def _model_class(config: Any) -> Any:
    import transformers

    if config.model_type in _ENCODERS:
        if config.model_type == "t5gemma":
            config.is_encoder_decoder = False
        return getattr(transformers, _ENCODERS[config.model_type])
    return transformers.AutoModel


def _require_all_weights(spec: TransformerSpec, info: dict[str, Any], unused: tuple[str, ...]) -> None:
    missing = sorted(key for key in info["missing_keys"] if not any(f".{part}" in f".{key}" for part in unused))
    mismatched = sorted(str(key[0]) for key in info["mismatched_keys"])
    if missing or mismatched:
        named = ", ".join([*missing, *mismatched][:8])
        raise ModelError(
            f"the weights in {spec.path} lack {len(missing)} tensors and have {len(mismatched)} of another shape "
            f"than config.json says: {named}{', …' if len(missing) + len(mismatched) > 8 else ''}",
            _AGAIN,
        )


def _vocabulary_size(model: Any) -> int | None:
    try:
        return int(model.get_input_embeddings().num_embeddings)
    except (AttributeError, NotImplementedError):
        return None


def _position_limit(model: nn.Module) -> int | None:
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            # Where a padding index is reserved, positions begin behind it.
            reserved = getattr(module, "padding_idx", None)
            return table.num_embeddings - (reserved + 1 if isinstance(reserved, int) else 0)
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no report from the transformers library: what matters is raised."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
