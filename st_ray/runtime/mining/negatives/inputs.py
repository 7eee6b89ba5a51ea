"""What the flags name: files of pairs and of a corpus, and the columns that are read of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import InputError, StRayError
from st_ray.runtime.corpus import ScanRequest, flags_of_a_corpus, reading_lineage, stamps_digest
from st_ray.runtime.mining.negatives.config import MineHardNegativesConfig
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.output import STAGING
from st_ray.store.readers.columns import describe
from st_ray.store.readers.sources import input_columns, resolve_inputs
from st_ray.store.readers.spec import ReadSpec, ValueColumn


@dataclass(frozen=True)
class TextRequest:
    """What is to be read; `corpus` is None where the positives are all documents."""

    pairs: ScanRequest
    corpus: ScanRequest | None
    anchor: str
    positive: str

    @property
    def small(self) -> bool:
        """Whether all files are scanned in this process."""
        return self.pairs.small and (self.corpus is None or self.corpus.small)

    @property
    def stamps(self) -> list[str]:
        """Of the files: while they are equal, these need not be scanned again."""
        return [stamps_digest(request.files) for request in (self.corpus, self.pairs) if request is not None]

    def lineage(self, digests: Sequence[str]) -> Lineage:
        """What identifies the texts; `digests` are those of the corpus, if there is one, and of the pairs."""
        sides = [("corpus", self.corpus)] if self.corpus is not None else []
        lineage: dict[str, Any] = {"anchor_column": self.anchor, "positive_column": self.positive}
        for (name, request), digest in zip([*sides, ("pairs", self.pairs)], digests, strict=True):
            lineage[name] = digest
            lineage |= {
                f"{name}_{part}": value for part, value in reading_lineage(request.spec, request.on_bad_row).items()
            }
        return {**lineage, "shard_rows": self.pairs.shard_rows}


def text_request(config: MineHardNegativesConfig, folder: str) -> TextRequest:
    """How to read the files that the flags name; compressed ones are re-cut in `folder`.

    Raises:
        InputError: no such file or column.
    """
    spec = ReadSpec(columns=config.columns or None, quotes=config.quotes)
    anchor, positive = _pair_columns(config, spec)
    values = (ValueColumn(anchor, "text"), ValueColumn(positive, "text"))
    with flags_of_pairs():
        files, spec = resolve_inputs(
            config.pairs, ReadSpec(text_columns=(anchor,), columns=spec.columns, quotes=config.quotes, values=values)
        )
    staging = fs.join(folder, STAGING)
    pairs = ScanRequest(tuple(files), spec, config.shard_rows, staging, config.on_bad_row, check_ids=False)
    corpus = None
    if config.corpus:
        with flags_of_a_corpus():
            files, spec = resolve_inputs(
                config.corpus,
                ReadSpec(
                    text_columns=config.corpus_text_columns, columns=config.corpus_columns or None, quotes=config.quotes
                ),
            )
        corpus = ScanRequest(tuple(files), spec, config.shard_rows, staging, config.on_bad_row, check_ids=False)
    return TextRequest(pairs, corpus, anchor, positive)


def _pair_columns(config: MineHardNegativesConfig, spec: ReadSpec) -> tuple[str, str]:
    """Of anchors and positives: the user's, else those of these names, else the first columns of texts."""
    columns = input_columns(config.pairs, spec)
    strings = [name for name, kind in columns if kind == "string"]

    def choose(named: str | None, usual: str, other: str | None) -> str:
        free = [name for name in strings if name != other]
        chosen = named or (usual if usual in free else next(iter(free), None))
        if chosen is None:
            raise InputError(
                f"{', '.join(config.pairs)}: two columns of texts are needed, anchors and positives; columns found: "
                f"{describe(columns)}",
                "name them with --anchor-column and --positive-column",
            )
        return chosen

    known = config.positive_column or ("positive" if "positive" in strings else None)
    anchor = choose(config.anchor_column, "anchor", known)
    return anchor, choose(config.positive_column, "positive", anchor)


@contextmanager
def flags_of_pairs() -> Iterator[None]:
    """Errors within name the flags of pairs."""
    try:
        yield
    except StRayError as error:
        error.remedy = re.sub(
            r"--text-columns( and --id-column)?", "--anchor-column and --positive-column", error.remedy
        ).replace("--input", "--pairs")
        raise
