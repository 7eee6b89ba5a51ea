"""From rows that name texts by ids to examples that do; all rows of a shard at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_ray.core.splitmix import splitmix64
from st_ray.runtime.texts_by_id.ids import distinct_ids
from st_ray.runtime.training.ids.recipe import Recipe
from st_ray.store.join import id_keys
from st_ray.store.readers.read import TextBlock
from st_ray.training.tuples import pairs_of_tuples

NO_POSITIVE = "a query without a positive document"
NO_NEGATIVE = "a query without a negative document"


@dataclass(frozen=True)
class NamedExamples:
    """n examples of k inputs and m labels.

    Attributes:
        queries: `[n]` string, ids.
        documents: k columns `[n]` string, ids.
        labels: float32 `[n, m]`.
        rows: int64 `[n]`, global number of the row that each is made of.
        dropped: rows that make none, and examples that were left out, by reason.
        systems: of those whose negatives are wanted, the rows that have any, by name.
    """

    queries: pa.Array
    documents: tuple[pa.Array, ...]
    labels: np.ndarray
    rows: np.ndarray
    dropped: Mapping[str, int] = field(default_factory=dict)
    systems: Mapping[str, int] = field(default_factory=dict)

    def without(self, wrong: np.ndarray, reason: str) -> NamedExamples:
        """The others; those of the mask are dropped for that reason."""
        kept = pa.array(~wrong)
        return NamedExamples(
            self.queries.filter(kept),
            tuple(column.filter(kept) for column in self.documents),
            self.labels[~wrong],
            self.rows[~wrong],
            {**self.dropped, reason: int(np.count_nonzero(wrong))},
            self.systems,
        )


def named_examples(block: TextBlock, recipe: Recipe) -> NamedExamples:
    """The examples of a shard's rows, as `id_recipe` says: those of a row together, positives first."""
    return _MAKERS[recipe.format](block.values, block.rows, recipe)


def _judged(values: Sequence[pa.Array], rows: np.ndarray, recipe: Recipe) -> NamedExamples:
    query, document, grade = values
    return NamedExamples(query, (document,), _labels(recipe, grade), rows)


def _taught(values: Sequence[pa.Array], rows: np.ndarray, recipe: Recipe) -> NamedExamples:
    query, positive, negative, *scores = values
    labels = _labels(recipe, *scores)
    if recipe.inputs == 2:
        return NamedExamples(query, (positive, negative), labels, rows)
    row_of, column = np.divmod(np.arange(2 * len(rows)), 2)
    return _pairs(values, rows, row_of, column, labels.reshape(-1, 1))


def _contrasted(values: Sequence[pa.Array], rows: np.ndarray, recipe: Recipe) -> NamedExamples:
    codes = np.stack([distinct_ids(column)[1] for column in values[:2]])
    repeated = np.append(False, (codes[:, 1:] == codes[:, :-1]).all(axis=0))[: len(rows)]
    row_of, column = pairs_of_tuples(repeated, 1, recipe.negatives)
    return _pairs(values, rows, row_of, column, (column == 0)[:, None].astype(np.float32))


def _pairs(
    values: Sequence[pa.Array], rows: np.ndarray, row_of: np.ndarray, column: np.ndarray, labels: np.ndarray
) -> NamedExamples:
    """Pairs of some rows' queries with their positives (column 0) or their negatives (column 1)."""
    query, positive, negative = values[:3]
    documents = pa.concat_arrays([positive, negative]).take(pa.array(row_of + column * len(rows)))
    return NamedExamples(query.take(pa.array(row_of)), (documents,), labels, rows[row_of])


def _drawn(values: Sequence[pa.Array], rows: np.ndarray, recipe: Recipe) -> NamedExamples:
    """Positives, and for each the negatives that come first by a hash of seed, query and document.

    So they are drawn without replacement, neither the order of systems and documents nor the rows beside show in the
    draw, and a document that several systems have is as likely as any other.
    """
    query, positives, named = values
    lists, row_of_list, systems = _lists_of(named, recipe)
    ids, code = distinct_ids(pa.concat_arrays([positives.flatten(), lists.flatten()]))
    size, split = max(1, len(ids)), len(positives.flatten())
    # Query and document as one number: those of a pair that stands several times are the same.
    pairs = np.concatenate([_parents(positives), row_of_list[_parents(lists)]]) * size + code
    positive = pairs[np.sort(np.unique(pairs[:split], return_index=True)[1])]
    negative = np.setdiff1d(_distinct(pairs[split:]), positive, assume_unique=True)
    row, code = np.divmod(negative, size)
    positives_of, negatives_of = (np.bincount(some // size, minlength=len(rows)) for some in (positive, negative))
    asked = splitmix64(id_keys(query)[:, 0] ^ np.uint64(recipe.seed % 2**64))
    hashes = splitmix64(id_keys(ids)[code, 0] ^ asked[row])
    drawn = negative[_smallest(hashes, row, (recipe.negatives or 0) * positives_of)]
    row, code = np.divmod(np.concatenate([positive, drawn]), size)
    order = np.argsort(row, kind="stable")
    order = order[((positives_of > 0) & (negatives_of > 0))[row[order]]]
    dropped = {NO_POSITIVE: positives_of == 0, NO_NEGATIVE: (positives_of > 0) & (negatives_of == 0)}
    return NamedExamples(
        query.take(pa.array(row[order])),
        (ids.take(pa.array(code[order])),),
        (order < len(positive))[:, None].astype(np.float32),
        rows[row[order]],
        {reason: int(np.count_nonzero(which)) for reason, which in dropped.items() if which.any()},
        systems,
    )


def _distinct(values: np.ndarray) -> np.ndarray:
    """Each value once, ascending: what np.unique gives, in a tenth of the time that its hash table takes."""
    values = np.sort(values)
    return values[np.append(True, values[1:] != values[:-1])[: len(values)]]


def _smallest(hashes: np.ndarray, group: np.ndarray, most: np.ndarray) -> np.ndarray:
    """The positions of the `most[g]` smallest hashes of each group g, group by group."""
    order = np.lexsort((hashes, group))
    counts = np.bincount(group, minlength=len(most))
    rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[group[order]]
    return order[rank < most[group[order]]]


def _lists_of(named: pa.MapArray, recipe: Recipe) -> tuple[pa.ListArray, np.ndarray, dict[str, int]]:
    """The lists of the wanted systems, int64, the row of each, and in how many rows each of these systems is."""
    names, lists, row_of = named.keys, named.items, np.repeat(np.arange(len(named)), np.diff(named.offsets.to_numpy()))
    if not recipe.systems:
        return lists, row_of, {}
    at = pc.index_in(names, value_set=pa.array(recipe.systems, pa.string())).fill_null(-1).to_numpy()
    counts = np.bincount(at[at >= 0], minlength=len(recipe.systems))
    chosen = np.flatnonzero(at >= 0)
    return lists.take(pa.array(chosen)), row_of[chosen], dict(zip(recipe.systems, counts.tolist(), strict=True))


def _parents(lists: pa.ListArray) -> np.ndarray:
    """int64 `[n]`, the list that each of the flattened values is from."""
    return np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())


def _labels(recipe: Recipe, *columns: pa.Array) -> np.ndarray:
    return (np.stack([column.to_numpy() for column in columns], axis=1) / recipe.label_scale).astype(np.float32)


_MAKERS: Mapping[str, Callable[[Sequence[pa.Array], np.ndarray, Recipe], NamedExamples]] = {
    "qrels": _judged,
    "id-triples": _contrasted,
    "teacher": _taught,
    "hard-negatives": _drawn,
}
