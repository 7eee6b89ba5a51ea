"""A cross-encoder's folder: the classifier in it, its prompts and its activation. No weight is loaded to read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from st_ray.core.errors import ModelError
from st_ray.models.folder import ModelFolder, read_prompts
from st_ray.models.specs import ClassifierSpec, listed_modules, read_classifier, read_object

SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"
_HEAD = "ForSequenceClassification"
_TASK = "sequence-classification"
# Their heads read the last place of a row, which is padding in all but the longest.
_READ_LAST_PLACE = {"xlnet", "xlm", "flaubert"}


@dataclass(frozen=True)
class PairFolder:
    """What a folder says of its cross-encoder.

    Attributes:
        model: the folder as one whose only module is the classifier.
        activation: dotted name of what turns logits into scores.
    """

    model: ModelFolder
    activation: str

    @property
    def labels(self) -> int:
        """Logits of a pair."""
        return self.classifier.labels

    @property
    def classifier(self) -> ClassifierSpec:
        """The only module."""
        first = self.model.first
        if not isinstance(first, ClassifierSpec):
            raise TypeError(f"{type(first).__name__} is no classifier")
        return first


def read_pair_folder(path: str | Path) -> PairFolder:
    """Read `path`: a sequence classification model of transformers, or what Sentence Transformers wrote of one.

    Raises:
        ModelError: the folder or a file of it is missing or broken, or it holds another kind of model.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(f"there is no model folder at {folder}", "check the path")
    place = _only_transformer(folder) if (folder / "modules.json").exists() else folder
    spec = read_classifier(place)
    config = read_object(place / "config.json")
    _require_head(place, config)
    file = folder / "config_sentence_transformers.json"
    settings = read_object(file) if file.exists() else {}
    prompts, default = read_prompts(file, settings, {})
    return PairFolder(ModelFolder(folder, (spec,), prompts, default), _activation(settings, config, spec.labels))


def _activation(settings: dict[str, Any], config: dict[str, Any], labels: int) -> str:
    """The one that is named, in any of the places that Sentence Transformers has used; else by the number of labels."""
    named = settings.get("activation_fn")
    named = named or (config.get("sentence_transformers") or {}).get("activation_fn")
    named = named or config.get("sbert_ce_default_activation_function")
    return named or (SIGMOID if labels == 1 else IDENTITY)


def _only_transformer(folder: Path) -> Path:
    """Where the one module of a folder by Sentence Transformers lies."""
    listing = folder / "modules.json"
    modules = listed_modules(listing)
    kinds = [kind.rpartition(".")[2] for kind, _ in modules]
    settings = modules[0][1] / "sentence_bert_config.json"
    task = (read_object(settings) if settings.exists() else {}).get("transformer_task", "feature-extraction")
    if kinds != ["Transformer"] or task != _TASK:
        raise ModelError(
            f"{listing} describes {', '.join(kinds)}, for {task}: no cross-encoder with a classification head",
            "use a sequence classification model; models for embeddings are jobs.encode's",
        )
    return modules[0][1]


def _require_head(folder: Path, config: dict[str, Any]) -> None:
    names = [str(name) for name in config.get("architectures") or ()]
    if not any(name.endswith(_HEAD) for name in names):
        raise ModelError(
            f"{folder} has no classification head (config.json names {', '.join(names) or 'no architecture'})",
            f"use a model whose architecture ends in {_HEAD}: a cross-encoder, not a model for embeddings",
        )
    if config.get("model_type") in _READ_LAST_PLACE:
        raise ModelError(f"{folder} is a {config['model_type']} model: its head is not supported", "use another model")
