"""Between the stages: neighbours and pairs by position, in Arrow files whose record batches are read by themselves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from st_ray.mining.bitext import BitextPairs
from st_ray.store.embeddings import embedding_array, embedding_column
from st_ray.store.readers.files import open_table, reading

SUFFIX = ".arrow"


def nearest_bytes(scores: np.ndarray, neighbors: np.ndarray, means: np.ndarray) -> bytes:
    """The neighbours of a shard: scores float32 and positions int64 `[n, k]`, and the rows' mean scores float32."""
    return _file_bytes({"mean": means, "scores": scores, "neighbors": neighbors}, max(1, len(means)))


def read_means(url: str) -> np.ndarray:
    """Mean scores of a shard's rows, float32 `[n]`. Raises InputError where the file is missing or damaged."""
    return _read(url, ["mean"])["mean"]


def read_nearest(url: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores and positions of a shard, as `nearest_bytes` has them; raises what `read_means` raises."""
    columns = _read(url, ["scores", "neighbors"])
    return columns["scores"], columns["neighbors"]


def pairs_bytes(pairs: BitextPairs, batch_rows: int) -> bytes:
    """Pairs in their order, so many in a record batch."""
    return _file_bytes({"margin": pairs.margin, "source": pairs.source, "target": pairs.target}, batch_rows)


def read_pairs(url: str, batch: int) -> BitextPairs:
    """The pairs of one record batch; raises what `read_means` raises."""
    return BitextPairs(**_read(url, ["margin", "source", "target"], batch))


def read_margins(url: str) -> np.ndarray:
    """The margins of all pairs, float32; raises what `read_means` raises."""
    return _read(url, ["margin"])["margin"]


def _file_bytes(columns: Mapping[str, np.ndarray], batch_rows: int) -> bytes:
    arrays = [pa.array(values) if values.ndim == 1 else embedding_column(values) for values in columns.values()]
    batch = pa.record_batch(arrays, names=list(columns))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        for first in range(0, max(1, len(batch)), batch_rows):
            writer.write_batch(batch.slice(first, batch_rows))
    return sink.getvalue()


def _read(url: str, names: Sequence[str], batch: int | None = None) -> dict[str, np.ndarray]:
    """Columns of one record batch, or of all."""
    with reading(url), open_table(url, ahead=False) as source:
        fields = [pa.ipc.open_file(source).schema.get_field_index(name) for name in names]
        file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
        table = file.read_all() if batch is None else pa.Table.from_batches([file.get_batch(batch)])
        return {name: _array(table[name]) for name in names}


def _array(column: pa.ChunkedArray) -> np.ndarray:
    return embedding_array(column) if pa.types.is_fixed_size_list(column.type) else column.to_numpy()
