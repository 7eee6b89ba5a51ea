"""What is to be prepared: the files that name texts by ids, and those of the texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from st_ray.core.errors import InputError
from st_ray.runtime.corpus import ScanRequest, flags_of_a_corpus, reading_lineage, stamps_digest
from st_ray.runtime.texts_by_id.staged import text_request, texts_lineage
from st_ray.runtime.training.ids.recipe import Recipe
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.output import STAGING
from st_ray.store.readers.folders import expand
from st_ray.store.readers.sources import input_columns, resolve_inputs
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.readers.text import is_delimited

SHARD_EXAMPLES = 20_000
"""Examples of a shard, about."""
_TEXT_COLUMNS = ("id", "text")


class TextFiles(NamedTuple):
    """Files of texts with ids.

    Attributes:
        inputs: files, folders or globs.
        spec: the columns that the user named. None named, in TSV or CSV: id and text, without a header line and quotes,
            as MS MARCO has them.
    """

    inputs: Sequence[str]
    spec: ReadSpec = ReadSpec()


@dataclass(frozen=True)
class IdRequest:
    """See `id_request`.

    Attributes:
        data: the files that name the texts.
        queries: their texts.
        corpus: the documents' texts.
    """

    recipe: Recipe
    data: ScanRequest
    queries: ScanRequest
    corpus: ScanRequest

    @property
    def skips(self) -> bool:
        """Whether rows that cannot be used are left out, and examples that lack a text."""
        return self.data.on_bad_row == "skip"

    @property
    def sides(self) -> dict[str, ScanRequest]:
        """All files, by what they are."""
        return {"data": self.data, "queries": self.queries, "corpus": self.corpus}

    @property
    def stamps(self) -> dict[str, str]:
        """Of the files: while they are equal, these need not be scanned again."""
        return {name: stamps_digest(side.files) for name, side in self.sides.items()}

    def data_lineage(self, digest: str) -> Lineage:
        """What identifies the examples, by their ids; `digest` is that of the data."""
        reading = reading_lineage(self.data.spec, self.data.on_bad_row)
        return {"data": digest, **reading, **self.recipe.lineage, "shard_rows": self.data.shard_rows}

    def lineage(self, digests: Mapping[str, Any]) -> Lineage:
        """What identifies the examples with their texts; `digests` are those of all files, by what they are."""
        return {**self.data_lineage(digests["data"]), **texts_lineage(self.queries, self.corpus, digests)}


def id_request(
    recipe: Recipe,
    data: Sequence[str],
    queries: TextFiles,
    corpus: TextFiles,
    folder: str,
    *,
    on_bad_row: Literal["fail", "skip"] = "fail",
    shard_examples: int = SHARD_EXAMPLES,
) -> IdRequest:
    """Check the inputs; none is read but for its beginning.

    Args:
        data: files, folders or globs of the format that the recipe names.
        folder: where the examples will be prepared; see `prepare.prepare_id_rows`.
        on_bad_row: of all files; skip: examples that lack a text are left out and counted, too.
        shard_examples: examples of a shard, about.

    Raises:
        InputError: no such file or column.
    """
    with flags_of_a_corpus():
        documents = _text_request(corpus, folder, on_bad_row)
    return IdRequest(
        recipe,
        _data_request(recipe, data, folder, on_bad_row, recipe.shard_rows(shard_examples)),
        _text_request(queries, folder, on_bad_row),
        documents,
    )


def _data_request(recipe: Recipe, inputs: Sequence[str], folder: str, on_bad_row: str, shard_rows: int) -> ScanRequest:
    layout = recipe.layout
    spec = ReadSpec(values=layout.values)
    if _is_delimited(inputs):
        named = {name for name, _ in input_columns(inputs, ReadSpec())}
        has_header = named >= {column.name for column in layout.values}
        spec = replace(spec, columns=None if has_header else layout.columns or None)
    try:
        files, spec = resolve_inputs(inputs, spec, texts=False)
    except InputError as error:
        raise InputError(error.message, f"{recipe.format} are read from {layout.says}") from error
    return ScanRequest(tuple(files), spec, shard_rows, fs.join(folder, STAGING), on_bad_row, check_ids=False)


def _text_request(texts: TextFiles, folder: str, on_bad_row: str) -> ScanRequest:
    spec = texts.spec
    if not (spec.id_column or spec.text_columns or spec.columns) and _is_delimited(texts.inputs):
        id_column, *text_columns = _TEXT_COLUMNS
        spec = ReadSpec(id_column, tuple(text_columns), _TEXT_COLUMNS, quotes=False)
    return text_request(texts.inputs, spec, on_bad_row, folder)


def _is_delimited(inputs: Sequence[str]) -> bool:
    return any(is_delimited(file.format) for given in inputs for file in expand(given).files)
