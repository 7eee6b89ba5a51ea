"""Pairs of texts to scores with one model on one device: the in-memory API, and the half of it that actors run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from st_ray.core.errors import ConfigError, InputError
from st_ray.models.activation import activation_of, on_tensors, softmax
from st_ray.models.backend import check_tokens, load_backend
from st_ray.models.folder import check_weights
from st_ray.models.options import EmbedOptions, LoadOptions, Progress
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.pair_tokenizer import PairTokenizer, TokenizedPairs
from st_ray.models.progress import ProgressBar
from st_ray.models.source import resolve_model
from st_ray.models.within_memory import BatchBudget

Pair = Sequence[str]


class CrossEncoder:
    """A sequence classification model that scores pairs of texts.

    Attributes:
        folder: what the model folder says of itself (labels, activation, prompts).
        device: where the model runs, as torch names it.
        num_labels: scores of a pair.
        load_options: how it was loaded.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        trust_remote_code: bool = False,
        backend: str = "torch",
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: Callable[[Any], Any] | str | None = None,
        dtype: str = "float32",
        threads: int | None = None,
        allow_pickle: bool = False,
        file_name: str | None = None,
    ) -> None:
        """Load the model.

        Args:
            model: whatever `resolve_model` takes: a folder, package:NAME, a URL, a hub id.
            device: cpu, cuda, cuda:1, …; None for the GPU where there is one.
            prompts: prompt texts by name, in place of the model's own.
            default_prompt_name: which of them is used where none is asked for; None for the model's choice.
            trust_remote_code: run code that lies in the model folder.
            backend: torch; openvino or onnx, for CPUs, which need to be installed; auto for the faster one.
            num_labels: what the model must have; None for any number.
            max_length: tokens a pair is cut to; None for what the model states.
            activation_fn: from logits to scores, a function of torch tensors such as `torch.nn.Sigmoid()`, or the
                dotted name of its class; None for what the model names, else a sigmoid for one label and nothing for
                several.
            dtype: arithmetic of the transformer, float32, bfloat16 or float16; scores are always float32.
            threads: of a CPU; None for the library's own number.
            allow_pickle: load pickled weights where there are no others.
            file_name: of an exported graph in the folder, which the backend runs in place of the weights; None for the
                weights, which the backends openvino and onnx convert on first use.

        Raises:
            ModelError: the folder is missing, damaged, or holds no model with a classification head.
            ConfigError: an argument cannot be honoured.
        """
        self.folder = read_pair_folder(resolve_model(model, file_name))
        self.num_labels = self.folder.labels
        if num_labels not in (None, self.num_labels):
            raise ConfigError(
                f"num_labels is {num_labels}, {self.folder.model.path} has {self.num_labels}", "leave it out"
            )
        check_weights(self.folder.model, allow_pickle, file_name)
        self._prompts = dict(self.folder.model.prompts if prompts is None else prompts)
        self._default_prompt = default_prompt_name or self.folder.model.default_prompt_name
        self._prompt(None, None)
        named = activation_fn or self.folder.activation
        self._activation = (
            activation_of(named, self.num_labels, trust_remote_code) if isinstance(named, str) else on_tensors(named)
        )
        self._max_length = max_length
        self._trust_remote_code = trust_remote_code
        self.load_options = LoadOptions(device, dtype, threads, trust_remote_code, allow_pickle, file_name)
        self._backend = load_backend(backend, self.folder.model, self.load_options)
        self._budget = BatchBudget(self._backend.batch_tokens)
        self.device = self._backend.device

    @cached_property
    def tokenizer(self) -> PairTokenizer:
        """The folder's tokenizer, loaded when first asked for."""
        return PairTokenizer.of(self.folder.model, self._max_length, self._trust_remote_code)

    def predict(
        self,
        inputs: Pair | Sequence[Pair],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        *,
        batch_tokens: int | None = None,
    ) -> Any:
        """Scores of pairs, in their order.

        Args:
            inputs: pairs of strings, or one pair.
            prompt_name: name of one of the model's prompts, to put before every first text.
            prompt: the prompt itself; wins over `prompt_name`.
            batch_size: pairs of a batch at most; `batch_tokens` bounds it in any case.
            show_progress_bar: show one on standard error.
            activation_fn: from logits to scores, a function of torch tensors; None for the model's.
            apply_softmax: make the scores of several labels sum to 1.
            convert_to_numpy: give an array; if neither this nor `convert_to_tensor`, a list of tensors.
            convert_to_tensor: give a torch tensor on the model's device instead of an array.
            batch_tokens: tokens of a batch at most, padding included; None for the device's default.

        Returns:
            float32 `[n]`, or `[n, labels]` for several labels; of one pair a number, or `[labels]`.

        Raises:
            ConfigError: the model has no prompt of that name.
            InputError: a pair is not two strings.
        """
        singular = _is_one_pair(inputs)
        pairs: Any = [inputs] if singular else list(inputs)
        first, second, first_of, second_of = distinct_texts(pairs)
        tokens = self.tokenizer.tokenize(first, second, first_of, second_of, self._prompt(prompt, prompt_name))
        options = EmbedOptions(
            self.num_labels,
            batch_tokens=_positive("batch_tokens", batch_tokens),
            batch_rows=_positive("batch_size", batch_size),
        )
        with ProgressBar(len(tokens), "pair", shown=bool(show_progress_bar)) as bar:
            logits = self._logits(tokens, options, bar.update)
        scores = (self._activation if activation_fn is None else on_tensors(activation_fn))(logits)
        if self.num_labels == 1 and scores.ndim == 2:
            scores = scores[:, 0]
        if apply_softmax and scores.ndim == 2:
            scores = softmax(scores)
        if convert_to_numpy and not convert_to_tensor:
            return scores[0] if singular else scores
        import torch

        tensor = torch.from_numpy(scores).to(self.device)
        if singular:
            return tensor[0]
        return tensor if convert_to_tensor else list(tensor)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        *,
        batch_tokens: int | None = None,
    ) -> list[dict[str, Any]]:
        """The documents by their score for the query, best first, equal scores as they stand.

        Args:
            query: one text.
            documents: texts.
            top_k: so many of them; None for all.
            return_documents: give their texts too.
            prompt_name: see `predict`, as for the other arguments.
            prompt: see `predict`.
            batch_size: see `predict`.
            show_progress_bar: see `predict`.
            activation_fn: see `predict`.
            batch_tokens: see `predict`.

        Returns:
            For each document `corpus_id` (its position), `score` and, if asked for, `text`.

        Raises:
            ConfigError: the model has several labels.
        """
        if self.num_labels != 1:
            raise ConfigError(
                f"{self.folder.model.path} has {self.num_labels} labels, and ranking needs one", "use predict()"
            )
        scores = self.predict(
            [(query, document) for document in documents],
            prompt_name,
            prompt,
            batch_size,
            show_progress_bar,
            activation_fn,
            batch_tokens=batch_tokens,
        )
        hits: list[dict[str, Any]] = []
        for position in np.argsort(-scores, kind="stable")[:top_k].tolist():
            text = {"text": documents[position]} if return_documents else {}
            hits.append({"corpus_id": position, "score": float(scores[position]), **text})
        return hits

    def score_tokenized(
        self, tokens: TokenizedPairs, *, batch_tokens: int | None = None, on_batch: Progress | None = None
    ) -> np.ndarray:
        """Scores of tokenized pairs, after the activation, float32 `[n, labels]`, in their order.

        Args:
            tokens: from a tokenizer of this model.
            batch_tokens: tokens of a batch at most, padding included; None for the device's default.
            on_batch: see `Progress`; on a GPU the batch may still be under way.

        Raises:
            OutOfMemoryError: one pair alone needs more memory than there is.
            ModelError: a pair has more tokens than the model has positions, or a token is not in its vocabulary.
        """
        options = EmbedOptions(self.num_labels, batch_tokens=_positive("batch_tokens", batch_tokens))
        return self._activation(self._logits(tokens, options, on_batch))

    def _logits(self, tokens: TokenizedPairs, options: EmbedOptions, on_batch: Progress | None) -> np.ndarray:
        check_tokens(tokens, self._backend, self.folder.model.path)
        return self._budget.run(self._backend.embed, tokens, options, on_batch)

    def _prompt(self, prompt: str | None, name: str | None) -> str:
        if prompt is not None:
            return prompt
        name = name if name is not None else self._default_prompt
        if name is None:
            return ""
        if name not in self._prompts:
            known = ", ".join(sorted(self._prompts)) or "none"
            raise ConfigError(f"there is no prompt named {name!r} (there are {known})", "give the prompt itself")
        return self._prompts[name]


def distinct_texts(pairs: Sequence[Pair]) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Distinct first and second texts, and which of them each pair has, int32 `[n]` each.

    Raises:
        InputError: a pair is not two strings; its position is named.
    """
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    places = np.empty((2, len(pairs)), np.int32)
    for row, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise InputError(f"pair {row} is {pair!r:.80}, expected two strings", "give a list of pairs of texts")
        places[:, row] = first.setdefault(pair[0], len(first)), second.setdefault(pair[1], len(second))
    return list(first), list(second), places[0], places[1]


def _is_one_pair(inputs: Any) -> bool:
    if isinstance(inputs, str):
        raise InputError("got one string, expected pairs of texts", "give a list of pairs")
    return len(inputs) == 2 and isinstance(inputs[0], str)


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ConfigError(f"{name} is {value}", "give a number above zero")
    return value
