"""Between the stages: pairs by positions in the store, and arrays of numbers, as files.

Pairs in order stand by falling score, then smaller rows. The place of one among all is known by its key, an integer
made of its score and its first row, so that any range of keys can be cut out of any number of files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from st_ray.core.pairs import Pairs, concatenated, falling
from st_ray.store import fs
from st_ray.store.readers.files import open_table, reading

SUFFIX = ".arrow"
BATCH = 16_384
"""Pairs of a record batch: what a range is cut out of."""
_HEADS = b"keys of the first pairs"


def order_keys(pairs: Pairs) -> np.ndarray:
    """uint64 `[m]`, rising with falling scores, then with the first rows, which are below 2^32."""
    return (falling(pairs.scores).astype(np.uint64) << np.uint64(32)) | pairs.first.astype(np.uint64)


def in_order(pairs: Pairs) -> Pairs:
    """The pairs, each once, in order; equal ones have equal scores."""
    keys = order_keys(pairs)
    order = np.lexsort((pairs.second, keys))
    keys, pairs = keys[order], pairs[order]
    fresh = np.ones(len(pairs), bool)
    fresh[1:] = (np.diff(keys) != 0) | (np.diff(pairs.second) != 0)
    return pairs[fresh]


def heads_of(pairs: Pairs) -> np.ndarray:
    """The keys of the first pair of each batch, of pairs in order."""
    return order_keys(pairs[::BATCH])


def pairs_bytes(pairs: Pairs) -> bytes:
    """A file of the pairs, in the order given."""
    schema = pa.schema([("first", pa.int64()), ("second", pa.int64()), ("score", pa.float32())])
    table = pa.table([pairs.first, pairs.second, pairs.scores], schema=schema)
    table = table.replace_schema_metadata({_HEADS: heads_of(pairs).tobytes()})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table, max_chunksize=BATCH)
    return sink.getvalue()


def read_staged(url: str, begin: int = 0, end: int | None = None) -> Pairs:
    """The pairs number `begin` up to before `end` of a file. Raises InputError where it is missing or damaged."""
    with reading(url), open_table(url, ahead=False) as source:
        file = pa.ipc.open_file(source)
        last = file.num_record_batches if end is None else -(-end // BATCH)
        first = begin // BATCH
        pairs = _batches(file, range(first, min(last, file.num_record_batches)))
    return pairs[begin - first * BATCH : None if end is None else end - first * BATCH]


def read_range(url: str, low: int, high: int | None) -> Pairs:
    """The pairs with keys from `low` up to before `high` of a file of pairs in order; raises what `read_staged` does.

    Batches that hold none of them are not read.
    """
    with reading(url), open_table(url, ahead=False) as source:
        file = pa.ipc.open_file(source)
        heads = np.frombuffer(file.schema.metadata[_HEADS], np.uint64)
        first = max(0, int(np.searchsorted(heads, np.uint64(low), side="left")) - 1)
        last = len(heads) if high is None else int(np.searchsorted(heads, np.uint64(high), side="left"))
        pairs = _batches(file, range(first, last))
    keys = order_keys(pairs)
    end = len(keys) if high is None else int(np.searchsorted(keys, np.uint64(high)))
    return pairs[int(np.searchsorted(keys, np.uint64(low))) : end]


def array_bytes(array: np.ndarray) -> bytes:
    """A file of one array."""
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def read_array(url: str) -> np.ndarray:
    """The inverse of `array_bytes`. Raises InputError where the file is missing or damaged."""
    with reading(url):
        return np.asarray(np.load(io.BytesIO(fs.read_bytes(url)), allow_pickle=False))


def _batches(file: pa.ipc.RecordBatchFileReader, numbers: range) -> Pairs:
    table = pa.Table.from_batches([file.get_batch(number) for number in numbers], file.schema)
    return Pairs(*(column.to_numpy() for column in table.columns))


class Slices:
    """Some pairs of files of pairs in order, one file after the other.

    Args:
        files: where they lie, and the pairs of each.
        most: pairs at most; those behind are left out.
    """

    def __init__(self, files: Sequence[tuple[str, int]], most: int) -> None:
        self._files = files
        self._ends = np.cumsum([0, *(count for _, count in files)])
        self.count = min(most, int(self._ends[-1]))

    def parts(self, begin: int, end: int) -> Iterator[Pairs]:
        """The pairs number `begin` up to before `end`, file by file. Raises what `read_staged` raises."""
        for (url, _), first, last in zip(self._files, self._ends[:-1].tolist(), self._ends[1:].tolist(), strict=True):
            if max(begin, first) < min(end, last):
                yield read_staged(url, max(begin - first, 0), min(end, last) - first)

    def all(self) -> Iterator[Pairs]:
        """All of them, file by file."""
        return self.parts(0, self.count)

    def last(self) -> Pairs:
        """The last pair; none if there is none."""
        return concatenated(list(self.parts(max(0, self.count - 1), self.count)))
