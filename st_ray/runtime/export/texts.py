"""Texts to calibrate with and to compare on: a sample of the user's, or sentences that every Python brings along."""

from __future__ import annotations

import ast
import sysconfig
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.config import Names
from st_ray.runtime.corpus import IN_PROCESS_BYTES, ScanRequest, prepare_corpus
from st_ray.runtime.export.config import ExportModelConfig
from st_ray.runtime.session import ray_session
from st_ray.store.readers.sample import sample_texts
from st_ray.store.readers.sources import resolve_inputs

Pair = tuple[str, str]
_SHARD_ROWS = 50_000
_TIMES = 4
"""So many times the texts wanted are read, since a sample comes in short runs of neighbours, which are often alike."""


def sampled_texts(config: ExportModelConfig, files: tuple[str, ...], rows: int) -> list[str]:
    """So many texts of the files, chosen at random and none twice; all where there are fewer.

    Raises:
        InputError: no such file or column, bad rows, or no text at all.
    """
    texts = _sampled(config, files, config.text_columns, rows)
    return _chosen(config, files, [text for text in texts if text.strip()], rows)


def sampled_pairs(config: ExportModelConfig, files: tuple[str, ...], rows: int) -> list[Pair]:
    """So many pairs of texts of the files, chosen as `sampled_texts` does.

    Raises:
        ConfigError: the flags do not name two columns.
        InputError: see `sampled_texts`.
    """
    if len(config.text_columns) != 2:
        raise ConfigError("a cross-encoder takes pairs of texts", "name the two columns with --text-columns a,b")
    # A row that one column lacks must not shift the other.
    strict = replace(config, on_bad_row="fail")
    first, second = (_sampled(strict, files, Names((column,)), rows) for column in config.text_columns)
    return _chosen(config, files, list(zip(first, second, strict=True)), rows)


def own_sentences(count: int) -> list[str]:
    """So many paragraphs from the documentation of Python's own modules."""
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        try:
            text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
        except (SyntaxError, ValueError):
            continue
        found |= dict.fromkeys(" ".join(part.split()) for part in text.split("\n\n") if len(part.split()) > 3)
        if len(found) >= count:
            break
    return list(found)[:count]


def own_pairs(count: int) -> list[Pair]:
    """Paragraphs beside those that follow them, and beside others."""
    texts = own_sentences(count)
    far = len(texts) // 2
    pairs = [(one, texts[(place + 1) % len(texts)]) for place, one in enumerate(texts)]
    return [*pairs[::2], *((one, texts[(place + far) % len(texts)]) for place, one in enumerate(texts))][:count]


def _sampled(config: ExportModelConfig, files: tuple[str, ...], columns: Names, rows: int) -> list[str]:
    """`_TIMES` as many texts as `rows`, in their order, from all over the files."""
    sources, spec = resolve_inputs(files, replace(config, text_columns=columns, id_column=None).read_spec())
    request = ScanRequest(tuple(sources), spec, _SHARD_ROWS, None, config.on_bad_row, check_ids=False)
    with ExitStack() as stack:
        if sum(file.size for file in sources) > IN_PROCESS_BYTES:
            stack.enter_context(ray_session(None, debug=config.debug))
        corpus = prepare_corpus(request)
    return sample_texts(corpus.shards, corpus.spec, rows * _TIMES, config.seed)


def _chosen(config: ExportModelConfig, files: tuple[str, ...], found: list[Any], rows: int) -> list[Any]:
    if not found:
        raise InputError(f"{', '.join(files)} has no text", "name files that hold texts like your own")
    # Duplicates would stand among those to calibrate with and among those to compare on.
    distinct = list(dict.fromkeys(found))
    return [distinct[place] for place in np.random.default_rng(config.seed).permutation(len(distinct))[:rows]]
