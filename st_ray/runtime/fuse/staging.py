"""Between the two stages: hits split by query, one Arrow record batch a bucket, so that a bucket is read by itself."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa

from st_ray.store.readers.duplicates import hash_ids
from st_ray.store.readers.files import open_table, reading

SUFFIX = ".arrow"


def split_bytes(table: pa.Table, buckets: int) -> bytes:
    """A file of `table`'s rows with a record batch for each bucket, in which rows keep their order.

    A query's bucket is that of its id as a string, so that it is the same whatever the id's type.
    """
    queries = table["query_id"].combine_chunks().dictionary_encode()
    texts = queries.dictionary.cast(pa.string()).to_pylist()
    bucket = (hash_ids(texts, "", 0)[:, 1] % np.uint64(buckets)).astype(np.int64)[queries.indices.to_numpy()]
    order = np.argsort(bucket, kind="stable")
    bounds = np.searchsorted(bucket[order], np.arange(buckets + 1))
    rows = table.take(pa.array(order))
    batch = pa.record_batch([column.combine_chunks() for column in rows.columns], schema=table.schema)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            writer.write_batch(batch.slice(begin, end - begin))
    return sink.getvalue()


def read_bucket(url: str, bucket: int) -> pa.Table:
    """The rows of one bucket. Raises InputError where the file is missing or damaged."""
    with reading(url), open_table(url, ahead=False) as source:
        return pa.Table.from_batches([pa.ipc.open_file(source).get_batch(bucket)])
