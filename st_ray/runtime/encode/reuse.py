"""`--reuse`: which rows of an older store serve again."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.matching import NewRows, count_rows, match_rows_soon
from st_ray.runtime.pipeline import result_of
from st_ray.store.embeddings import text_digests
from st_ray.store.join import digest_keys
from st_ray.store.lineage import Lineage, lineage_differences
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.reuse import OldStore


def embedding_differences(old: Lineage, now: Lineage) -> list[str]:
    """What gives equal texts other embeddings than an old store has: a readable line each.

    Args:
        old: the old store's lineage.
        now: model, settings and (as far as it is known) compute of this run.
    """
    now = {"graph": None, **now}  # it stands there only where one is run
    return lineage_differences({name: old.get(name) for name in now}, now)


def check_same_embeddings(folder: str, old: Lineage, now: Lineage) -> None:
    """Raise InputError, naming what differs (see `embedding_differences`)."""
    differences = embedding_differences(old, now)
    if differences:
        raise InputError(
            f"--reuse {folder}: its embeddings were made in another way:\n     " + "\n     ".join(differences),
            "repeat its settings, or leave out --reuse to encode all rows",
        )


@dataclass(frozen=True)
class Reused:
    """The old store of a run, whose matches with the missing shards are being found.

    Attributes:
        counts: a Ray object that will be the rows that come again, and the old ones that do not.
        whole: whether all shards are missing: only then is known what is gone.
    """

    store: OldStore
    counts: Any
    whole: bool

    def wait(self) -> None:
        """Until the matches are written.

        Raises:
            InputError: a file of the corpus changed or is damaged, or a part of the old store is.
        """
        result_of(self.counts)

    def found(self) -> dict[str, int | None]:
        """Counts of `reused` and `gone` rows; raises what `wait` raises."""
        reused, gone = result_of(self.counts)
        return {"reused": reused, "gone": gone if self.whole else None}


def find_matches(
    old: OldStore, todo: Sequence[tuple[str, ShardPlan]], whole: bool, spec: ReadSpec, on_bad_row: str
) -> Reused:
    """Begin to write the matches of the shards `todo`, given by part name."""
    return Reused(old, match_rows_soon(old, _new_rows(todo, spec, on_bad_row)), whole)


def count_matches(
    old: OldStore, todo: Sequence[tuple[str, ShardPlan]], spec: ReadSpec, on_bad_row: str
) -> dict[str, int]:
    """Counts of `reused` and `gone` rows; nothing is written. Raises what `Reused.wait` raises."""
    reused, gone = count_rows(old, _new_rows(todo, spec, on_bad_row))
    return {"reused": reused, "gone": gone}


def _new_rows(todo: Sequence[tuple[str, ShardPlan]], spec: ReadSpec, on_bad_row: str) -> list[NewRows]:
    return [NewRows(name, plan.rows, functools.partial(_keys, plan, spec, on_bad_row)) for name, plan in todo]


def _keys(plan: ShardPlan, spec: ReadSpec, on_bad_row: Any) -> np.ndarray:
    return digest_keys(text_digests(read_shard(plan, spec, on_bad_row=on_bad_row).texts))
