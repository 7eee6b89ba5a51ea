"""Tracing a model into a graph: without the tracers' notes, and with one error where it cannot be done."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from st_ray.core.errors import ModelError, reason_of


@contextmanager
def tracing(folder: Path, title: str) -> Iterator[None]:
    """Turn whatever the code of the model in `folder` leads to into an error that says so.

    Nothing is recorded for gradients, and no warnings are shown: what tracing gets wrong, a comparison must find.

    Args:
        folder: of the model.
        title: of what the graph is for.

    Raises:
        ModelError: from any other error.
    """
    try:
        with torch.inference_mode(), quiet("transformers"):
            yield
    except Exception as error:
        raise ModelError(
            f"{folder} cannot be converted for {title}: {type(error).__name__}: {reason_of(error)}",
            "use --backend torch",
        ) from error


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """No warnings, and only errors of these loggers; the root's name is the empty text."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)
