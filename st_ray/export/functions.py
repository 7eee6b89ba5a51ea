"""Sentence Transformers' export functions, with its arguments; they write into a local model folder."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from st_ray.core.errors import ConfigError, reason_of
from st_ray.export.graphs import Batch, Recipe, make_graph, single_batches
from st_ray.export.openvino import CALIBRATION_TEXTS
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.cross_encoder import CrossEncoder

Encoder = BiEncoder | CrossEncoder


def export_optimized_onnx_model(
    model: Encoder,
    optimization_config: str,
    model_name_or_path: str | Path,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str | None = None,
) -> None:
    """Write `onnx/model_O3.onnx` into a model folder: the model's graph, optimized by ONNX Runtime.

    Args:
        model: with any backend.
        optimization_config: O1 (constants are folded, what is of no use goes), O2 (parts of transformers become one
            operation each), O3 (O2, and GELU by a polynomial) or O4 (O3 in float16, for GPUs).
        model_name_or_path: the folder to write into; it is made where it is absent.
        push_to_hub: refused; upload the folder with huggingface_hub.
        create_pr: likewise.
        file_suffix: behind `model_` in the file's name, in place of the level.

    Raises:
        ConfigError: there is no such level, or what an export needs is not installed.
        ModelError: the model is not of an architecture that can be exported.
    """
    _require_local(push_to_hub, create_pr)
    recipe = Recipe("onnx", level=_named(optimization_config, "optimization_config"), suffix=file_suffix)
    _write(model, recipe, model_name_or_path)


def export_dynamic_quantized_onnx_model(
    model: Encoder,
    quantization_config: str,
    model_name_or_path: str | Path,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str | None = None,
) -> None:
    """Write `onnx/model_qint8_avx512_vnni.onnx` into a model folder: weights in int8, activations as the graph runs.

    Args:
        model: with any backend.
        quantization_config: arm64, avx2, avx512 or avx512_vnni: the kind of CPU.
        model_name_or_path: the folder to write into; it is made where it is absent.
        push_to_hub: refused; upload the folder with huggingface_hub.
        create_pr: likewise.
        file_suffix: behind `model_` in the file's name, in place of the type of the weights and the kind of CPU.

    Raises:
        ConfigError: there is no such kind of CPU, or what an export needs is not installed.
        ModelError: the model is not of an architecture that can be exported.
    """
    _require_local(push_to_hub, create_pr)
    recipe = Recipe("onnx", flavour=_named(quantization_config, "quantization_config"), suffix=file_suffix)
    _write(model, recipe, model_name_or_path)


def export_static_quantized_openvino_model(
    model: Encoder,
    quantization_config: Mapping[str, Any] | None,
    model_name_or_path: str | Path,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    dataset_split: str | None = None,
    column_name: str | None = None,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str = "qint8_quantized",
    *,
    texts: Sequence[Any] | None = None,
) -> None:
    """Write `openvino/openvino_model_qint8_quantized.xml` into a model folder: weights and activations in int8.

    Args:
        model: with any backend.
        quantization_config: keywords of `nncf.quantize` to change; `num_samples`, how many texts are measured
            (300); None for what suits transformers.
        model_name_or_path: the folder to write into; it is made where it is absent.
        dataset_name: of texts to measure ranges with, on the Hugging Face hub; give all four or none.
        dataset_config_name: see `dataset_name`.
        dataset_split: see `dataset_name`.
        column_name: see `dataset_name`.
        push_to_hub: refused; upload the folder with huggingface_hub.
        create_pr: likewise.
        file_suffix: behind `openvino_model_` in the file's name.
        texts: texts to measure with in place of a dataset, or pairs for a cross-encoder: best those that the model
            is for; of more than `num_samples` a random sample is taken, the same each time. Without them and without
            a dataset, glue/sst2 is fetched from the hub, as Sentence Transformers does.

    Raises:
        ConfigError: there is no text to measure with, or what an export needs is not installed.
        ModelError: the model is not of an architecture that can be exported.
    """
    _require_local(push_to_hub, create_pr)
    config = dict(quantization_config or {})
    count = int(config.pop("num_samples", CALIBRATION_TEXTS))
    if texts is None:
        texts = _dataset_texts((dataset_name, dataset_config_name, dataset_split, column_name))
        if isinstance(model, CrossEncoder):
            texts = list(itertools.pairwise(texts))
    recipe = Recipe("openvino", static=True, suffix=file_suffix)
    _write(model, recipe, model_name_or_path, _batches(model, _sample(texts, count)), config)


def _sample(texts: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the texts, from all over them: those of a sorted file resemble their neighbours."""
    return random.Random(0).sample(list(texts), min(count, len(texts)))


def _write(
    model: Encoder,
    recipe: Recipe,
    folder: str | Path,
    batches: Sequence[Batch] = (),
    config: Mapping[str, Any] | None = None,
) -> None:
    source = model.folder.model if isinstance(model, CrossEncoder) else model.folder
    make_graph(recipe, source, model.load_options, Path(folder) / recipe.name, batches, config)


def _batches(model: Encoder, texts: Sequence[Any]) -> list[Batch]:
    if isinstance(model, CrossEncoder):
        first, second = ([pair[side] for pair in texts] for side in (0, 1))
        return single_batches(model.tokenizer.tokenize(first, second, prompt=model.folder.model.prompt()))
    return single_batches(model.tokenizer.tokenize(texts, model.folder.prompt()))


def _dataset_texts(names: tuple[str | None, str | None, str | None, str | None]) -> list[str]:
    if any(names) and not all(names):
        raise ConfigError(
            "dataset_name, dataset_config_name, dataset_split and column_name belong together", "give all or none"
        )
    name, config, split, column = names if all(names) else ("nyu-mll/glue", "sst2", "train", "sentence")
    from datasets import load_dataset

    try:
        rows = load_dataset(name, config, split=split)
    except Exception as error:  # offline, absent, forbidden: all say why
        raise ConfigError(
            f"the dataset {name} cannot be had: {reason_of(error)}", "give texts of your own with texts=[...]"
        ) from error
    found: list[str] = list(rows[column])
    return found


def _named(config: Any, argument: str) -> str:
    if not isinstance(config, str):
        raise ConfigError(
            f"{argument} is a {type(config).__name__}; optimum, whose configurations these are, is not used here",
            "give the name of a level or of a kind of CPU",
        )
    return config


def _require_local(push_to_hub: bool, create_pr: bool) -> None:
    if push_to_hub or create_pr:
        raise ConfigError("exports are not pushed to a hub from here", "upload the folder with huggingface_hub")
