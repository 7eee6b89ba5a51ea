"""`--reuse`: which rows of an older store serve again."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.matching import NewRows, match_rows
from st_ray.store.embeddings import text_digests
from st_ray.store.join import digest_keys
from st_ray.store.lineage import lineage_differences
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.reuse import OldStore


def check_same_embeddings(folder: str, old: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InputError, naming what differs, unless equal texts have equal embeddings in both.

    Args:
        old: the old store's lineage.
        now: model, settings and compute of this run.
    """
    differences = lineage_differences({name: old.get(name) for name in now}, now)
    if differences:
        raise InputError(
            f"--reuse {folder}: its embeddings were made in another way:\n     " + "\n     ".join(differences),
            "repeat its settings, or leave out --reuse to encode all rows",
        )


def find_matches(
    old: OldStore, todo: Sequence[tuple[str, ShardPlan]], spec: ReadSpec, on_bad_row: str
) -> dict[str, int]:
    """Write the matches of the shards `todo`, given by part name; returns counts of `reused` and `gone` rows.

    Raises:
        InputError: a file of the corpus changed or is damaged, or a part of the old store is.
    """
    reused, gone = match_rows(
        old, [NewRows(name, plan.rows, functools.partial(_keys, plan, spec, on_bad_row)) for name, plan in todo]
    )
    return {"reused": reused, "gone": gone}


def _keys(plan: ShardPlan, spec: ReadSpec, on_bad_row: Any) -> np.ndarray:
    return digest_keys(text_digests(read_shard(plan, spec, on_bad_row=on_bad_row).texts))
