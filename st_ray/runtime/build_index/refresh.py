"""`--refresh`: whether an older index can be taken over, and how; settled before any part is made.

What was done, and why, is `about["refresh"]` of the new index.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from st_ray.core.errors import InputError
from st_ray.index.output import TRAINED, OpenedIndex, open_index_output
from st_ray.index.spec import IndexSpec
from st_ray.index.tune import Curve
from st_ray.runtime.matching import NewRows, match_rows
from st_ray.runtime.pipeline import result_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.lineage import lineage_differences
from st_ray.store.manifest import read_manifest
from st_ray.store.output import part_name
from st_ray.store.reuse import OldStore, made_by

MOST_CHANGED = 0.3
"""Share of the rows that may have changed since an index was trained."""
REFRESHED, REBUILT = "refreshed", "rebuilt"


@dataclass(frozen=True)
class OldIndex:
    """The index to take over from.

    Attributes:
        about: of its manifest.
        store: the embeddings that it was built from; None where a text may have another embedding now.
        unlike: why it may.
    """

    index: OpenedIndex
    about: Mapping[str, Any]
    store: StoredVectors | None
    unlike: str | None

    @classmethod
    def open(cls, folder: str, store: StoredVectors) -> OldIndex:
        """Read manifests. Raises InputError if `folder` is no finished index."""
        index, about = open_index_output(folder), read_manifest(folder).about
        try:
            old_store = index.open_embeddings()
        except InputError as error:
            return cls(index, about, None, error.message)
        unlike = _unlike(old_store, store)
        return cls(index, about, None if unlike else old_store, unlike)

    def trained(self) -> bytes:
        """Its empty, trained index. Raises InputError where that is gone."""
        url = fs.join(self.index.folder, TRAINED)
        try:
            return fs.read_bytes(url)
        except FileNotFoundError:
            raise InputError(f"{url} is missing", "build the index without --refresh") from None

    @property
    def changed_since_training(self) -> int:
        """Rows that have come and gone in earlier refreshes."""
        earlier = self.about.get("refresh")
        return earlier["changed_since_training"] if earlier else 0


def plan_refresh(
    old: OldIndex, store: StoredVectors, spec: IndexSpec, tasks: Sequence[tuple[int, int]], matches: str, auto: bool
) -> dict[str, Any]:
    """What will be done, for the manifest: from, how, why, kept, added, removed and changed_since_training.

    Where codes are carried over, which rows come again is written to files on the way.

    Args:
        spec: of the new index.
        tasks: first row of each of its parts, and the row after the last.
        matches: a folder for these files (see `refill.CarryPart`).
        auto: whether `spec` was chosen and not asked for.

    Raises:
        InputError: a part of either store is missing or damaged; it is named.
    """
    if old.store is None:
        return rebuilt(old, store, str(old.unlike))
    why = _other_recipe(old.index.spec, spec, store.rows, auto)
    if why is None and not spec.carries_codes:
        why = _no_append(old.index, old.store, store, tasks)
    if why is not None:
        return rebuilt(old, store, why)
    kept, removed = _match(old.store, store, tasks, matches) if spec.carries_codes else (old.store.rows, 0)
    added = store.rows - kept
    changed = old.changed_since_training + max(added, removed)
    if spec.needs_training and changed > MOST_CHANGED * store.rows:
        why = f"{changed:,} of {store.rows:,} rows changed since it was trained, more than {MOST_CHANGED:.0%}"
        return rebuilt(old, store, why)
    return _outcome(old, REFRESHED, None, kept, added, removed, changed)


def rebuilt(old: OldIndex, store: StoredVectors, why: str) -> dict[str, Any]:
    """What stands in the manifest of an index that was built anew."""
    return _outcome(old, REBUILT, why, 0, store.rows, sum(entry.rows for entry in old.index.entries), 0)


def recall_lost(old: OldIndex, curve: Curve | None, recall_at: int) -> str | None:
    """Why a refreshed index does not do: it misses a target that the old one reached; None where it does."""
    before = old.about["curve"]
    if curve is None or curve.reached or before is None or old.about["recall_at"] != recall_at:
        return None
    best = max(point["recall"] for point in before["points"])
    if best < curve.target:
        return None
    return (
        f"refreshed, it had a recall at {recall_at} of {curve.best.recall:.4f} at best; "
        f"{curve.target:g} was asked for, and it had reached {best:.4f}"
    )


def _outcome(
    old: OldIndex, how: str, why: str | None, kept: int, added: int, removed: int, changed: int
) -> dict[str, Any]:
    counts = {"kept": kept, "added": added, "removed": removed, "changed_since_training": changed}
    return {"from": old.index.folder, "how": how, "why": why, **counts}


def _unlike(old: StoredVectors, new: StoredVectors) -> str | None:
    differences = lineage_differences(made_by(old.lineage), made_by(new.lineage))
    if not differences and old.ranges != new.ranges:
        differences = [f"the ranges of {new.precision} are others"]
    return f"its embeddings were made in another way: {'; '.join(differences)}" if differences else None


def _other_recipe(before: IndexSpec, now: IndexSpec, rows: int, auto: bool) -> str | None:
    if before == now:
        return None
    chosen = auto and before.factory != now.factory
    reason = f"is the choice for {rows:,} rows" if chosen else "was asked for"
    return f"it is {_name(before)}; {_name(now)} {reason}"


def _name(spec: IndexSpec) -> str:
    return f"{spec.factory} for {'hamming' if spec.binary else spec.similarity}"


def _match(old: StoredVectors, new: StoredVectors, tasks: Sequence[tuple[int, int]], matches: str) -> tuple[int, int]:
    """Rows that come again, and old ones that do not."""
    parts = [
        NewRows(part_name(number, len(tasks), ".faiss"), last - first, functools.partial(new.text_keys, first, last))
        for number, (first, last) in enumerate(tasks)
    ]
    return match_rows(OldStore(old.folder, old.entries, matches), parts)


def _no_append(
    index: OpenedIndex, old: StoredVectors, new: StoredVectors, tasks: Sequence[tuple[int, int]]
) -> str | None:
    """Why the rows that have come cannot just be added to the parts of the old index; None where they can."""
    if not index.spec.is_graph:
        return f"the codes of {index.spec.factory} cannot move to another index"
    only = f"vectors can only be added to {index.spec.factory}"
    row = result_of(ray.remote(first_change).options(num_cpus=0.5).remote(old, new))
    if row is not None:
        return f"{only}, and row {row:,} is not the same any more"
    ends = dict(tasks)
    if any(entry.first_row + entry.rows > ends.get(entry.first_row, 0) for entry in index.entries):
        return f"{only}, part by part, and its parts have other sizes"
    return None


def first_change(old: StoredVectors, new: StoredVectors) -> int | None:
    """The first row of `old` that has not the same text in `new`; None where `new` goes on where `old` ends."""
    for first, entry in zip(old.offsets.tolist(), old.entries, strict=False):
        before = old.text_keys(first, first + entry.rows)
        now = new.text_keys(first, first + entry.rows)
        same = (before[: len(now)] == now).all(axis=1)
        if not same.all():
            return first + int(np.argmin(same))
        if len(now) < len(before):
            return first + len(now)
    return None
