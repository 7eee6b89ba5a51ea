"""Flags of jobs that run a cross-encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.runtime.config import ModelJobConfig


@dataclass(frozen=True, kw_only=True)
class CrossEncoderConfig(ModelJobConfig):
    """How a cross-encoder scores, and how its scores are checked."""

    activation: Literal["model", "sigmoid", "identity"] = "model"
    """What makes scores of the model's logits. model: what it names itself, else a sigmoid for one label. identity
    keeps apart what a sigmoid rounds to 1."""

    prompt_name: str | None = None
    """Name of one of the model's prompts, put before the first text of a pair. Unset: the model's own choice, most
    often none."""

    min_correlation: float | None = None
    """Unless it computes in float32, every actor measures how its scores of a sample of pairs rank beside those in
    float32 (Spearman); below this it stops before anything is committed. Unset: 0.99; 0.95 with --file-name."""

    seed: int = 0
    """Of everything that is drawn at random, such as the sample of pairs that --min-correlation is measured on."""

    def check_cross_encoder_flags(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        self.check_model_flags()
