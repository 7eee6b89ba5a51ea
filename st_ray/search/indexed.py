"""Search in the parts of an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from st_ray.index.files import check_part, open_index
from st_ray.index.merge import merge_in_memory
from st_ray.index.query import search_index
from st_ray.index.spec import IndexSpec
from st_ray.scoring.quantization import quantize_embeddings
from st_ray.scoring.topk import merged


class IndexSearcher:
    """Some parts of an index, loaded. Those that can be are merged, so that a query visits the lists of all at once.

    Args:
        files: where the parts lie, and the rows of each.
        parameter: nprobe or efSearch, unless a search says otherwise.
        mapped: leave the lists in the file, and read those that are visited.

    Raises:
        InputError: a part is missing, short or damaged; it is named.
    """

    def __init__(
        self,
        spec: IndexSpec,
        files: Sequence[tuple[str, int]],
        parameter: int | None = None,
        on_done: Callable[[float], None] = lambda share: None,
        mapped: bool = False,
    ) -> None:
        self._spec = spec
        self._parameter = parameter
        self._on_done = on_done
        loaded = (_loaded(url, rows, spec, mapped) for url, rows in files)
        self._indexes: list[Any] = [merge_in_memory(loaded)] if spec.mergeable and len(files) > 1 else list(loaded)

    def search(self, queries: np.ndarray, k: int, parameter: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` rows that the index finds.

        Args:
            queries: float32 `[q, d]`.
            parameter: nprobe or efSearch.

        Returns:
            scores float32 and positions int64, `[q, k]`, best first, ties by smaller position; -inf and `PADDING` where
            fewer were found.
        """
        if self._spec.binary:
            queries = np.asarray(quantize_embeddings(queries, "ubinary"))
        found = [search_index(index, self._spec, queries, k, parameter or self._parameter) for index in self._indexes]
        self._on_done(1.0)
        return merged(found, k)


def _loaded(url: str, rows: int, spec: IndexSpec, mapped: bool) -> Any:
    index = open_index(url, mmap=mapped)
    check_part(index, spec, rows, url)
    return index
