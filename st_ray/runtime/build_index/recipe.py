"""Which recipe the flags ask for, or which one is chosen; and what cannot be built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.choose import choose_spec
from st_ray.index.spec import IndexSpec
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.refresh import OldIndex
from st_ray.runtime.resources import cluster_nodes
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs


@dataclass(frozen=True)
class Recipe:
    """What is asked for.

    Attributes:
        old: the index to refresh, if there is one.
    """

    config: BuildIndexConfig
    store: StoredVectors
    old: OldIndex | None

    @property
    def similarity(self) -> str:
        """What the index is for: as asked, as the old one is, or what the model names."""
        known = self.old.index.spec.similarity if self.old is not None and self.old.store is not None else None
        return self.config.similarity or known or self.store.similarity or "cosine"

    def check(self) -> None:
        """Raise ConfigError or InputError for what cannot be built, as far as that is known before Ray starts."""
        config, store = self.config, self.store
        if store.rows == 0:
            raise InputError(f"{store.folder} holds no embeddings", "encode a corpus that has rows")
        if store.is_binary and config.similarity is not None:
            raise ConfigError(f"--similarity {config.similarity}: {store.folder} holds bits", "leave it out")
        if config.merge == "disk" and not fs.is_local(fs.open_fs(config.output)[0]):
            raise ConfigError(
                "--merge disk needs an --output in a file system", "use --merge memory, or keep the parts"
            )
        if config.factory != "auto":
            spec = self._named()
            spec.check_rows(store.rows, store.folder)
            self._check_merge(spec)
            if config.train_rows is not None and config.train_rows < spec.minimum_train_rows:
                raise ConfigError(
                    f"--train-rows {config.train_rows}: {spec.factory} needs {spec.minimum_train_rows} at least",
                    "raise it, or leave it out",
                )

    def choose(self) -> IndexSpec:
        """The recipe; with Ray, whose machines' memory may decide. Raises ConfigError where none fits."""
        if self.config.factory != "auto":
            return self._named()
        if self.config.memory_gib is not None:
            memory = int(self.config.memory_gib * (1 << 30))
        else:
            memory = int(sum(node.memory for node in cluster_nodes()) / 2)

        def choice(rows: int) -> IndexSpec:
            return choose_spec(
                rows,
                self.store.dimension,
                self.similarity,
                memory,
                self.config.target_recall,
                self.store.is_binary,
            )

        spec = self._kept(choice) or choice(self.store.rows)
        self._check_merge(spec)
        return spec

    def _kept(self, choice: Callable[[int], IndexSpec]) -> IndexSpec | None:
        """The old index's recipe, unless its number of rows decided for it, and would not any more."""
        if self.old is None or self.old.store is None:
            return None
        spec = dataclasses.replace(self.old.index.spec, similarity=self.similarity)
        try:
            decided_by_rows = choice(self.old.store.rows) == spec
        except ConfigError:
            decided_by_rows = False
        return None if decided_by_rows or spec.minimum_train_rows > self.store.rows else spec

    def _named(self) -> IndexSpec:
        return IndexSpec(self.config.factory, self.similarity, self.store.dimension, self.store.is_binary)

    def _check_merge(self, spec: IndexSpec) -> None:
        merge = self.config.merge
        if merge != "no" and not spec.mergeable:
            raise ConfigError(f"--merge {merge}: the parts of {spec.factory} cannot be joined", "use --merge no")
        if merge == "disk" and not spec.mergeable_on_disk:
            raise ConfigError(f"--merge disk: {spec.factory} has no plain inverted lists", "use --merge memory")
